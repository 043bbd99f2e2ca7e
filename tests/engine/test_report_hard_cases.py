"""Scraps, silence, songs without edges, other channel counts: measured as far as can be, and said to be so."""

from __future__ import annotations

import json

import numpy as np
import pytest

from engine.measures import reference as reference_module
from engine.report import reference_for, score, subscores, summary
from protocol.music import TempoMap
from protocol.vocabulary import Verb
from tests.support.degrade import amplified, white_noise
from tests.support.judged import A_MINOR, RATE, Case
from tests.support.songs import Song, render_song


@pytest.fixture(scope="module")
def plain() -> Case:
    return Case(render_song(A_MINOR, TempoMap.constant(110), RATE), "A minor")


def test_a_take_of_the_wrong_length_scores_nothing(plain: Case) -> None:
    measures = plain.measure(plain.own[:, :-1])
    assert measures["length"] == {"frames": plain.own.shape[1] - 1, "expected": plain.own.shape[1], "exact": False}
    assert score(measures) == 0.0
    assert f"should be {plain.own.shape[1]}" in dict(summary(measures))["length"]


@pytest.mark.parametrize("seconds", [0.001, 0.05, 0.2, 0.5])
def test_a_very_short_region_is_measured_as_far_as_it_can_be(plain: Case, seconds: float) -> None:
    start = plain.region[0]
    case = Case(plain.song, "A minor", region=(start, start + round(seconds * RATE)))
    measures = case.measure(case.own)
    assert score(measures) > 80
    assert measures["grid"]["lock"] is None
    assert summary(measures)


def test_a_region_that_is_the_whole_song_is_held_against_what_was_there(plain: Case) -> None:
    case = Case(plain.song, None, region=(0, plain.source.frames))
    again = render_song(A_MINOR, plain.song.tempo_map, RATE, seed=9).audio
    measures = case.measure(again)
    assert measures["seam"] == {"start": None, "end": None}
    assert score(measures) > 95


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_number_of_channels_is_measured(channels: int) -> None:
    case = Case(render_song(A_MINOR, TempoMap.constant(120), 22_050, channels=channels), None)
    assert score(case.measure(case.own)) > 85


def test_a_stereo_take_of_a_mono_song_is_measured() -> None:
    case = Case(render_song(A_MINOR, TempoMap.constant(120), 22_050, channels=1), None)
    assert score(case.measure(np.repeat(case.own, 2, axis=0))) > 80


@pytest.mark.parametrize("key", ["A minor", None])
def test_without_a_song_what_can_be_measured_is(plain: Case, key: str | None) -> None:
    case = Case(plain.song, key, Verb.GENERATE, source=None)
    measures = case.measure(plain.own)
    assert measures["level"]["difference_lu"] is None
    assert measures["grid"]["lock"] > 0.8
    assert measures["key"]["lock"] > 0.9
    assert measures["masking"]["hidden"] is measures["novelty"]["copy_share"] is None
    if key:
        assert measures["chords"]["lock"] > 0.9
        assert measures["chords"]["song_agreement"] is None
    else:
        assert measures["chords"]["reason"] == "no key is told"
    assert measures["chords"]["spans"]  # what it plays is told all the same
    assert score(case.measure(white_noise(plain.own))) < 20 < 85 < score(measures)


def test_a_region_apart_from_the_song_meets_nothing(plain: Case) -> None:
    frames = plain.source.frames
    case = Case(plain.song, None, Verb.EXTEND, region=(frames + RATE, frames + 3 * RATE))
    measures = case.measure(plain.own[:, : 2 * RATE])
    assert measures["seam"] == {"start": None, "end": None}
    assert measures["novelty"]["original"] is None


def test_a_song_of_a_blink_is_extended_and_measured(plain: Case) -> None:
    blink = Song(plain.song.audio[:, : round(0.3 * RATE)], RATE, plain.song.tempo_map, ("Am",), ())
    case = Case(blink, None, Verb.EXTEND, region=(round(0.3 * RATE), 3 * RATE))
    measures = case.measure(plain.own[:, : 3 * RATE - round(0.3 * RATE)])
    assert measures["length"]["exact"]
    assert 0 <= score(measures) <= 100


def test_a_silent_song_leaves_nothing_to_compare_and_does_no_harm() -> None:
    song = render_song(A_MINOR, TempoMap.constant(120), 22_050)
    quiet = Song(np.zeros_like(song.audio), song.rate, song.tempo_map, song.chords, song.kicks_s)
    case = Case(quiet, None)
    for take in (case.own, song.audio[:, slice(*case.region)]):
        assert 0 <= score(case.measure(take)) <= 100


def test_measures_are_plain_json_and_the_same_every_time(plain: Case) -> None:
    for take in (plain.own, np.zeros_like(plain.own), white_noise(plain.own)):
        first, second = (json.dumps(plain.measure(take), allow_nan=False) for _ in range(2))
        assert first == second
        assert score(json.loads(first)) == score(plain.measure(take))


def test_the_song_is_read_once_for_all_takes_and_only_around_the_region() -> None:
    song = render_song(A_MINOR * 4, TempoMap.constant(90), 22_050)
    case = Case(song, None, region=song.frames_of_bars(40, 2))
    for db in (0, -1, -2):
        case.measure(amplified(case.own, db))
    read = sum(stop - start for start, stop in case.source.reads)
    assert song.duration_s > 150
    assert read <= reference_module.CONTEXT_S * song.rate + (case.region[1] - case.region[0])
    assert reference_for(case.request, case.region) is reference_for(case.request, case.region)


def test_another_tempo_or_key_makes_another_reference(plain: Case) -> None:
    first = reference_for(plain.request, plain.region)
    assert reference_for(Case(plain.song, "C minor").request, plain.region) is not first
    assert (
        reference_for(Case(plain.song, "A minor", tempo_map=TempoMap.constant(111)).request, plain.region) is not first
    )


def test_the_summary_says_what_a_musician_asks_in_that_order(plain: Case) -> None:
    lines = summary(plain.measure(plain.own))
    parts = ["length", "seam", "click", "level", "grid", "key", "chords", "noise", "novelty"]
    assert [what for what, _ in lines] == parts
    words = dict(lines)
    assert words["length"] == f"{plain.own.shape[1]} samples, exact"
    assert words["seam"].endswith("percentile of the song's own changes")
    assert words["key"].startswith("A minor: 0.")
    assert words["grid"].startswith("median ")
    assert "chords of this song, song 0." in words["chords"]
    assert "% an excerpt of " in words["novelty"]


def test_measures_kept_by_an_earlier_version_are_still_read(plain: Case) -> None:
    measures = plain.measure(plain.own)
    old = {name: part for name, part in measures.items() if name not in ("chords", "masking", "noise")}
    old["novelty"] = {name: measures["novelty"][name] for name in ("original", "neighbour", "song")}
    assert [what for what, _ in summary(old)] == ["length", "seam", "click", "level", "grid", "key", "novelty"]
    assert 0 < score(old) <= 100


def test_a_cover_is_held_against_the_songs_own_chord_of_each_beat_and_named_by_its_own() -> None:
    tempo_map = TempoMap.constant(110)
    song = render_song(A_MINOR, tempo_map, RATE)
    cover = Case(song, "A minor", Verb.COVER)
    start, stop = cover.region
    same = render_song(A_MINOR, tempo_map, RATE, seed=4).audio[:, start:stop]
    other = render_song((*A_MINOR[2:], "C", "F"), tempo_map, RATE, seed=4).audio[:, start:stop]
    faithful, free = cover.measure(same), cover.measure(other)
    assert faithful["chords"]["against"] == "song"
    assert faithful["chords"]["lock"] > 0.95 > 0.6 > free["chords"]["lock"]
    assert free["key"]["lock"] > 0.9
    spans = free["chords"]["spans"]
    inside = [name for begin, end, name in spans if start / RATE - 0.1 <= begin < end <= stop / RATE + 0.1]
    assert inside[:2] == ["Am", "F"]
    assert subscores(cover.measure(cover.own))["novelty"] == pytest.approx(0.0, abs=0.05)


def test_what_follows_a_song_may_choose_among_its_chords(plain: Case) -> None:
    frames = plain.source.frames
    after = Case(plain.song, "A minor", Verb.EXTEND, region=(frames, frames + 8 * RATE))
    tempo_map = plain.song.tempo_map
    for chords, fits in ((("Dm", "Em", "G", "C", "F"), True), (("F#", "D#m", "B", "G#m", "C#"), False)):
        chord = after.measure(render_song(chords, tempo_map, RATE, seed=3).audio[:, : 8 * RATE])["chords"]
        assert chord["against"] == "vocabulary"
        assert (chord["lock"] > 0.8) is fits
