"""The report discriminates: known damage lowers the measure that is about it, the more of it the more."""

from __future__ import annotations

import numpy as np
import pytest

from engine.report import score, subscores, summary
from protocol.music import TempoMap, TimeSignature
from protocol.vocabulary import TrackClass, Verb
from tests.support.degrade import amplified, crossfaded, delayed, transposed, white_noise
from tests.support.judged import A_MINOR, BARS, E_MINOR, FIRST_BAR, RATE, Case, falling
from tests.support.songs import Song, render_song

SONGS = {
    "97.53 bpm, A minor": (TempoMap.constant(97.53), A_MINOR, "A minor"),
    "140 bpm in 3/4, E minor, key unknown": (TempoMap.constant(140, TimeSignature(3, 4)), E_MINOR, None),
    "a ramp from 100 to 130": (TempoMap.from_flat([0, 100, 4, 4, 1, 30, 130, 4, 4, 0]), A_MINOR, "C major"),
    "124 bpm": (TempoMap.constant(124), E_MINOR, "Em"),
}


@pytest.fixture(scope="module", params=SONGS, ids=list(SONGS))
def case(request: pytest.FixtureRequest) -> Case:
    tempo_map, chords, key = SONGS[request.param]
    return Case(render_song(chords, tempo_map, RATE), key)


@pytest.fixture(scope="module")
def plain() -> Case:
    return Case(render_song(A_MINOR, TempoMap.constant(110), RATE), "A minor")


# --- good takes -------------------------------------------------------------------------------------------------------
def test_the_songs_own_bars_are_perfect_in_all_but_novelty(case: Case) -> None:
    measures = case.measure(case.own)
    assert min(value for part, value in subscores(measures).items() if value is not None and part != "novelty") > 0.85
    assert score(measures) > 85
    assert measures["novelty"]["original"] == pytest.approx(1.0, abs=1e-3)
    assert measures["novelty"]["copy_share"] > 0.95
    assert measures["level"]["difference_lu"] == pytest.approx(0.0, abs=1.0)


def test_other_bars_of_the_song_crossfaded_in_score_high(plain: Case) -> None:
    frames = plain.own.shape[1]
    start = plain.song.frames_of_bars(1, 1)[0]
    take = crossfaded(plain.song.audio[:, start : start + frames], plain.own, round(0.02 * RATE))
    measures = plain.measure(take)
    assert score(measures) > 85
    assert measures["novelty"]["original"] < 0.8


def test_every_damage_ranks_below_the_songs_own_bars(case: Case) -> None:
    best = score(case.measure(case.own))
    damaged = {
        "late": crossfaded(delayed(case.own, case.before, 20, RATE), case.own, 400),
        "flat": transposed(case.from_here_on, 100, case.own.shape[1], RATE),
        "quiet": amplified(case.own, -9),
        "noise": white_noise(case.own),
        "silence": np.zeros_like(case.own),
    }
    scores = {name: score(case.measure(take)) for name, take in damaged.items()}
    assert all(value < best - 7 for value in scores.values()), scores
    assert scores["silence"] < 30
    assert scores["noise"] < 50


# --- grid -------------------------------------------------------------------------------------------------------------
def test_a_delay_is_read_in_milliseconds_and_costs_the_more_the_longer(case: Case) -> None:
    delays = (0, 5, 10, 20, 40)
    takes = [crossfaded(delayed(case.own, case.before, ms, RATE), case.own, 100) for ms in delays]
    read = [case.measure(take)["grid"]["shift_ms"] for take in takes]
    assert read == pytest.approx(delays, abs=2.0)
    values = case.part("grid", takes)
    assert values[0] > 0.95
    assert falling(values)
    assert values[-1] < 0.3


def test_an_early_take_reads_negative(plain: Case) -> None:
    early = round(0.015 * RATE)
    take = plain.from_here_on[:, early : early + plain.own.shape[1]]
    assert plain.measure(take)["grid"]["shift_ms"] == pytest.approx(-15, abs=2)


def test_a_loose_player_is_steady_less_than_the_song() -> None:
    rng = np.random.default_rng(0)
    case = Case(render_song(A_MINOR, TempoMap.constant(110), RATE), None)
    values = []
    for loose_ms in (0, 15, 40):
        bars = [case.song.frames_of_bars(bar, 1) for bar in range(FIRST_BAR, FIRST_BAR + BARS)]
        length = (bars[0][1] - bars[0][0]) // 4
        pieces = []
        for start in range(case.region[0], case.region[1], length):
            moved = start + round(rng.uniform(-loose_ms, loose_ms) / 1000 * RATE)
            pieces.append(case.song.audio[:, moved : moved + min(length, case.region[1] - start)])
        values.append(subscores(case.measure(np.concatenate(pieces, axis=1)))["grid"])
    assert values[0] == pytest.approx(1.0, abs=0.02)
    assert falling([float(value or 0) for value in values])


def test_white_noise_is_not_locked_to_any_grid(case: Case) -> None:
    assert case.part("grid", [white_noise(case.own, seed) for seed in range(3)]) == pytest.approx([0, 0, 0], abs=0.2)


def test_a_song_off_the_told_grid_is_no_reason_to_blame_a_take() -> None:
    song = render_song(A_MINOR, TempoMap.constant(110), RATE)
    case = Case(song, None, tempo_map=TempoMap.constant(127.3))
    grid = case.measure(case.own)["grid"]
    assert grid["lock"] is None
    assert "check tempo" in grid["reason"]


def test_without_a_tempo_the_grid_is_not_measured_and_the_edges_still_are() -> None:
    song = render_song(A_MINOR, TempoMap.constant(110), RATE)
    case = Case(song, None, tempo_known=False, tempo_map=TempoMap.constant(120))
    measures = case.measure(case.own)
    assert measures["grid"] == {"lock": None, "reason": "no tempo is known"}
    assert measures["seam"]["start"]["against"] == "onset"
    assert score(measures) > 85


# --- key --------------------------------------------------------------------------------------------------------------
def test_detuning_costs_the_more_the_further(case: Case) -> None:
    frames = case.own.shape[1]
    takes = [transposed(case.from_here_on, cents, frames, RATE) for cents in (0, 20, 60, 100)]
    agreement = [case.measure(take)["key"]["agreement"] for take in takes]
    assert falling(agreement)
    values = case.part("key", takes)
    assert values[0] > 0.95
    assert values[1] < 0.8
    assert values[3] == 0.0


def test_the_song_in_another_key_agrees_less() -> None:
    tempo_map = TempoMap.constant(110)
    case = Case(render_song(A_MINOR, tempo_map, RATE), "A minor")
    up = {"A": "A#", "F": "F#", "C": "C#", "G": "G#", "Dm": "D#m", "Am": "A#m"}
    fifth = {"Am": "Em", "F": "C", "C": "G", "G": "D", "Dm": "Am"}
    takes = [case.own]
    for table in (fifth, up):
        other = render_song(tuple(table[chord] for chord in A_MINOR), tempo_map, RATE)
        takes.append(other.audio[:, slice(*case.region)])
    values = case.part("key", takes)
    assert falling(values)
    assert values[2] < 0.1
    assert case.measure(takes[2])["key"]["fits_transposed"] == -1


def test_white_noise_has_no_key(case: Case) -> None:
    assert case.part("key", [white_noise(case.own, seed) for seed in range(3)]) == pytest.approx([0, 0, 0], abs=0.05)


def test_drums_are_not_asked_for_a_key(plain: Case) -> None:
    stems = Case(plain.song, "A minor", Verb.COMPLETE)
    measures = stems.measure(stems.own, track=TrackClass.DRUMS)
    for part in ("key", "chords"):
        assert measures[part]["lock"] is None
        assert measures[part]["reason"] == "this track has no pitch"
    assert measures["chords"]["spans"] == []
    assert measures["seam"] == {"start": None, "end": None}


def test_the_told_key_is_named_and_an_estimated_one_is_said_to_be(plain: Case) -> None:
    assert plain.measure(plain.own)["key"]["key"] == "A minor"
    untold = Case(plain.song, None).measure(plain.own)
    assert untold["key"]["told"] is False
    assert "(estimated)" in dict(summary(untold))["key"]


def test_a_key_that_the_song_is_not_in_is_replaced_by_the_one_it_is_in(plain: Case) -> None:
    key = Case(plain.song, "G# minor").measure(plain.own)["key"]
    assert key["told"] is False
    assert key["key"] in ("A minor", "C major")
    assert key["lock"] > 0.95


def test_the_song_hummed_by_noise_keeps_to_no_key() -> None:
    song = render_song(A_MINOR, TempoMap.constant(110), RATE)
    noise = Song(white_noise(song.audio), RATE, song.tempo_map, song.chords, song.kicks_s)
    case = Case(noise, None)
    measures = case.measure(case.own)
    assert measures["key"]["lock"] is None or measures["key"]["song_tonal"] < 0.06
    assert 0 <= score(measures) <= 100


# --- level, seam, click -----------------------------------------------------------------------------------------------
def test_a_gain_is_read_in_lu_and_costs_the_more_the_bigger(case: Case) -> None:
    gains = (0, -3, -6, -9)
    takes = [amplified(case.own, db) for db in gains]
    read = [case.measure(take)["level"]["difference_lu"] for take in takes]
    assert np.array(read) - read[0] == pytest.approx(gains, abs=0.2)
    assert falling(case.part("level", takes))
    assert case.part("level", [amplified(case.own, 9)])[0] < 0.5


def test_a_hard_cut_in_a_held_chord_clicks_and_a_crossfade_does_not() -> None:
    song = render_song(("Am",) * 12, TempoMap.constant(110), RATE, drums=False)
    rate = song.rate
    start = round(song.tempo_map.time_at(25.5) * rate)
    case = Case(song, None, region=(start, start + 2 * rate))
    shifts = (7, 23, 61)  # frames: the waveform goes on somewhere else in its cycle
    for shift in shifts:
        other = song.audio[:, start + shift : start + shift + 2 * rate]
        hard, soft = case.measure(other), case.measure(crossfaded(other, case.own, 400))
        assert hard["click"]["start_db"] > 15 > 6 > soft["click"]["start_db"]
        assert (subscores(hard)["click"] or 0) < 0.6
        assert subscores(soft)["click"] == 1.0
        assert "audible" in dict(summary(hard))["click"]
        assert score(hard) < score(soft)


def test_a_seam_in_the_middle_of_a_held_chord_shows_the_more_the_further_the_sound() -> None:
    song = render_song(("Am",) * 16, TempoMap.constant(110), RATE, drums=False)
    start = round(song.tempo_map.time_at(25.5) * RATE)
    case = Case(song, None, region=(start, start + 2 * RATE))
    noise = white_noise(case.own, 1)
    mixes = [(1 - share) * case.own + share * noise for share in (0.0, 0.02, 0.1, 0.5)]
    changes = [case.measure(take)["seam"]["start"]["change_db"] for take in mixes]
    assert falling([-change for change in changes])
    values = case.part("seam", mixes)
    assert values[0] > 0.85
    assert falling(values)


def test_a_bar_line_is_judged_by_other_bar_lines(plain: Case) -> None:
    seam = plain.measure(plain.own)["seam"]
    for edge in ("start", "end"):
        assert seam[edge]["against"] == "bar"
        assert seam[edge]["places"] >= 6
        assert 0 <= seam[edge]["percentile"] < 97
        # Where a kick and a new chord begin, the change is large, and yet it is no seam.
        assert seam[edge]["change_db"] > 8
    assert plain.part("seam", [plain.own])[0] > 0.85


def test_an_edge_with_nothing_beyond_it_has_no_seam(plain: Case) -> None:
    frames = plain.source.frames
    after = Case(plain.song, "A minor", Verb.EXTEND, region=(frames, frames + 4 * RATE))
    measures = after.measure(plain.own[:, : 4 * RATE])
    assert measures["seam"]["start"] is not None
    assert measures["seam"]["end"] is None
    assert measures["click"]["end_db"] is None
    assert score(measures) > 60
    before = Case(plain.song, "A minor", Verb.PREPEND, region=(-4 * RATE, 0))
    measures = before.measure(plain.own[:, : 4 * RATE])
    assert measures["seam"]["start"] is None
    assert measures["seam"]["end"] is not None
    assert measures["novelty"]["original"] is None
