"""What is heard in whole songs of which everything is known, and the lead sheet that is made of it."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
import pytest

from engine.harmony import ChordSpan
from engine.sketch.estimated_tempo import estimated_tempo_map
from engine.sketch.grid import Pulse
from engine.sketch.lead_sheet import LeadSheet, SongSection
from engine.sketch.song import SongAnalysis
from engine.sketch.song_analysis import analyse_song
from protocol.errors import BadArgument, Cancelled, MissingContext
from protocol.key import Key
from protocol.music import TempoMap, TimeSignature
from protocol.vocabulary import TrackClass, Verb
from tests.support.corpus import NAMES, CorpusSong, song
from tests.support.songs import MemorySource

CLUB = "club-128"


def heard(whole: CorpusSong, **changes: Any) -> SongAnalysis:
    return analyse_song(whole.request(Verb.COMPLETE, 5, 4, **changes), lambda _: None, lambda: False)


@lru_cache(maxsize=32)
def analysis(name: str, tempo_known: bool = True) -> SongAnalysis:
    return heard(song(name), tempo_known=tempo_known)


def chord_scores(whole: CorpusSong, found: SongAnalysis) -> dict[str, float]:
    def labelled(spans: tuple[ChordSpan, ...], tempo_map: TempoMap) -> tuple[np.ndarray, list[str]]:
        times = [(tempo_map.time_at(span.start), tempo_map.time_at(span.end)) for span in spans]
        return np.array(times), [span.chord.label if span.chord else "N" for span in spans]

    truth, guess = labelled(whole.chords, whole.tempo_map), labelled(found.chords, found.tempo_map)
    return dict(mir_eval.chord.evaluate(*truth, *guess))


def joined(sections: tuple[SongSection, ...]) -> list[tuple[float, float, str]]:
    out: list[tuple[float, float, str]] = []
    for section in sections:
        if out and out[-1][2] == section.label:
            out[-1] = (out[-1][0], section.end, section.label)
        else:
            out.append((section.start, section.end, section.label))
    return out


@pytest.mark.parametrize("name", NAMES)
def test_chords_key_form_and_swing_of_a_song_on_the_daws_grid(name: str) -> None:
    whole, found = song(name), analysis(name)
    scores = chord_scores(whole, found)
    assert scores["majmin"] > 0.9
    assert scores["root"] > 0.93
    assert scores["sevenths"] > 0.75
    assert scores["seg"] > 0.85
    assert found.key == whole.key
    assert (found.key_told, found.tonal, found.grid_name) == (False, True, "daw")
    assert found.swing == pytest.approx(whole.swing, abs=0.02)
    assert joined(found.sections) == [(a, b, label) for a, b, label in joined(whole.sections)]


@pytest.mark.parametrize("name", NAMES)
def test_beats_bars_and_chords_are_found_without_a_daw(name: str) -> None:
    whole, found = song(name), analysis(name, tempo_known=False)
    signature = whole.tempo_map.points[0].signature
    assert found.grid_name == "estimated"
    assert found.tempo_map.points[-1].signature == signature
    end_s = whole.tempo_map.time_at(whole.end_beat) - 0.1
    lines = list(found.tempo_map.grid(0.0, end_s))
    counts, bars = (np.array([line.time_s for line in lines if every or line.is_bar_line]) for every in (True, False))
    assert mir_eval.beat.f_measure(np.array(whole.beats_s), counts) > 0.97
    assert mir_eval.beat.f_measure(np.array(whole.downbeats_s), bars) > 0.95
    off_s = np.abs(np.subtract.outer(np.array(whole.beats_s), counts)).min(axis=1)
    assert np.median(off_s) < 0.004
    assert chord_scores(whole, found)["majmin"] > 0.9


def test_chords_of_another_order_do_not_agree() -> None:
    whole = song(CLUB)
    order = np.random.default_rng(0).permutation(len(whole.chords))
    shuffled = tuple(replace(span, chord=whole.chords[k].chord) for span, k in zip(whole.chords, order, strict=True))
    assert chord_scores(replace(whole, chords=shuffled), analysis(CLUB))["majmin"] < 0.4


@pytest.mark.parametrize("name", NAMES)
def test_drums_alone_have_no_harmony(name: str) -> None:
    whole = song(name)
    found = heard(whole, source=whole.source(whole.stems[TrackClass.DRUMS]))
    assert not found.tonal
    assert {span.chord for span in found.chords} == {None}


def test_noise_has_no_harmony_and_one_section_and_the_band_plays_the_tonic() -> None:
    noise = np.random.default_rng(0).standard_normal((2, 20 * 22_050)).astype(np.float32) * 0.1
    found = heard(song(CLUB), source=MemorySource(noise, 22_050), key="Bb minor")
    assert not found.tonal
    assert (found.key, found.key_told) == (Key("Bb", "minor"), True)
    assert len(found.sections) == 1
    sheet = found.lead_sheet(found.start - 7.0, found.end + 7.0)
    assert [str(span.chord) for span in sheet.chords] == ["A#m"]


@pytest.mark.parametrize("frames", [1, 3000])
@pytest.mark.parametrize("tempo_known", [True, False])
def test_a_source_of_next_to_nothing_is_no_error(frames: int, tempo_known: bool) -> None:
    source = MemorySource(np.zeros((1, frames), np.float32), 22_050)
    found = heard(song(CLUB), source=source, tempo_known=tempo_known)
    assert found.lufs is None
    assert not found.tonal
    covers(found.lead_sheet(-8.0, 40.0), -8.0, 40.0)


def test_a_told_key_wins() -> None:
    found = heard(song(CLUB), key="c minor")
    assert (found.key, found.key_told) == (Key("C", "minor"), True)
    with pytest.raises(BadArgument):
        heard(song(CLUB), key="x")


def test_the_kick_is_heard_where_it_is_played() -> None:
    for name in NAMES:
        whole, found = song(name), analysis(name)
        kicks = np.array([whole.tempo_map.beat_at(time_s) for time_s in whole.kicks_s])
        kicked = np.abs(np.subtract.outer(found.accents.beats, kicks)).min(axis=1) < 0.05
        on, off = (np.median(found.accents.strength[at, 0]) for at in (kicked, ~kicked))
        assert on > 4 * off
        assert on > 0.3


def test_balance_loudness_and_energy_say_how_loud_the_song_is() -> None:
    whole, found = song(CLUB), analysis(CLUB)
    quarter = heard(whole, source=whole.source(whole.mix * 0.25))
    assert found.lufs is not None
    assert quarter.lufs is not None
    assert found.lufs - quarter.lufs == pytest.approx(12.04, abs=0.05)
    assert quarter.balance_db == pytest.approx(found.balance_db, abs=0.05)
    assert 10 * np.log10(sum(10 ** (db / 10) for db in found.balance_db.values())) == pytest.approx(0.0, abs=0.2)
    soft = whole.mix.copy()
    soft[:, : soft.shape[1] // 2] *= 0.25
    energy = heard(whole, source=whole.source(soft)).energy
    assert np.mean(energy[:15]) < np.mean(energy[17:32]) - 0.4


def test_silent_bars_around_the_music_are_not_part_of_it() -> None:
    whole = song(CLUB)
    quiet = np.zeros((2, round(whole.tempo_map.bar_start(4) * whole.rate)), np.float32)
    found = heard(whole, source=MemorySource(np.concatenate([quiet, whole.mix, quiet], axis=1), whole.rate))
    assert (found.start, found.end) == pytest.approx((12.0, 140.0))


# --- the lead sheet ---------------------------------------------------------------------------------------------------
def covers(sheet: LeadSheet, start: float, end: float) -> None:
    for spans in (sheet.chords, sheet.sections):
        assert spans[-1].end == end
        assert spans[0].start == start or (spans is sheet.sections and spans[0].start < start)
        assert all(a.end == b.start for a, b in pairwise(spans))
        assert all(span.start < span.end for span in spans)
    assert all(span.chord is not None for span in sheet.chords)
    assert len(sheet.energy) == len(sheet.bars)


@pytest.mark.parametrize("tempo_known", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_lead_sheet_has_no_gaps_inside_the_song_nor_beyond_it(name: str, tempo_known: bool) -> None:
    found = analysis(name, tempo_known)
    rng = np.random.default_rng(5)
    for _ in range(20):
        start = float(rng.uniform(found.start - 60, found.end + 60))
        end = start + float(rng.uniform(0.5, 90))
        sheet = found.lead_sheet(start, end)
        covers(sheet, start, end)
        assert sheet.accents is not None
        assert (np.diff(sheet.accents.beats) > 0).all()


def test_beyond_its_end_a_song_goes_on_with_its_last_section_and_before_it_with_its_first() -> None:
    found = analysis(CLUB)  # A B A B, eight bars each

    def chords(start: float) -> list[str]:
        return [str(found.lead_sheet(start, start + 32).chord_at(start + beat)) for beat in range(0, 32, 2)]

    assert chords(found.end) == chords(found.end + 32) == chords(found.end - 32)
    assert chords(-32.0) == chords(-64.0) == chords(0.0)
    assert found.lead_sheet(128, 160).section_at(130).label == found.sections[-1].label


def test_inside_the_song_a_lead_sheet_says_what_was_heard() -> None:
    found = analysis(CLUB)
    sheet = found.lead_sheet(18.0, 51.0)
    assert all(sheet.chord_at(b) == next(s.chord for s in found.chords if s.start <= b < s.end) for b in range(18, 51))
    assert [section.label for section in sheet.sections] == ["A", "B"]
    assert sheet.energy == found.energy[4:13]


# --- promises of the ears ---------------------------------------------------------------------------------------------
def test_a_second_hearing_reads_nothing_and_says_the_same(tmp_path: Path) -> None:
    for known in (True, False):
        cold = heard(song(CLUB), cache_dir=tmp_path, tempo_known=known)
        source = song(CLUB).source()
        warm = heard(song(CLUB), cache_dir=tmp_path, tempo_known=known, source=source)
        assert source.reads == []
        assert warm == cold == analysis(CLUB, known)
        assert np.array_equal(warm.accents.beats, cold.accents.beats)
        assert np.array_equal(warm.accents.strength, cold.accents.strength)


def test_another_grid_or_key_is_another_analysis(tmp_path: Path) -> None:
    first = heard(song(CLUB), cache_dir=tmp_path)
    slower = song(CLUB).tempo_map.with_signature(TimeSignature(3, 4))
    assert heard(song(CLUB), cache_dir=tmp_path, tempo_map=slower).bars[0].beats == 3.0
    assert heard(song(CLUB), cache_dir=tmp_path, key="A").key == Key("A", "major")
    assert heard(song(CLUB), cache_dir=tmp_path, source_start_s=0.1).chords != first.chords
    assert heard(song(CLUB), cache_dir=tmp_path) == first


def test_what_is_heard_does_not_depend_on_the_region_that_was_asked_for_first() -> None:
    whole = song("ramp-104-124")
    frames = whole.mix.shape[1]
    regions = [(0, frames // 4), (frames, frames + frames // 2)]
    inside, beyond = (heard(whole, tempo_known=False, region=region) for region in regions)
    assert beyond == inside


@pytest.mark.parametrize("name", ["club-128", "ramp-104-124"])
def test_a_song_that_ends_before_project_time_0_is_heard_all_the_same(name: str) -> None:
    whole = song(name)
    found = heard(whole, tempo_known=False, source_start_s=-2.0 * whole.mix.shape[1] / whole.rate)
    assert found.tempo_map.points[0].time_s == 0.0
    assert found.end < 0.0
    sheet = found.lead_sheet(0.0, 16.0)
    assert sheet.chords[0].start == 0.0
    assert sheet.chords[-1].end == 16.0


def test_new_features_are_a_new_analysis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard(song(CLUB), cache_dir=tmp_path)
    monkeypatch.setattr("engine.sketch.analysis.FORMAT", 1_000_000)
    source = song(CLUB).source()
    heard(song(CLUB), cache_dir=tmp_path, source=source)
    assert source.reads


@pytest.mark.parametrize("damage", ["truncated", "garbage", "other"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    first = heard(song(CLUB), cache_dir=tmp_path)
    (file,) = (tmp_path / "decoded").glob("*_song-*")
    whole = file.read_bytes()
    if damage == "other":
        np.savez(file, song=np.frombuffer(b'{"key": "C"}', np.uint8), accent_beats=[0.0], accent_strength=[[0.0] * 3])
    else:
        file.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"\x00" * 500)
    with caplog.at_level(logging.WARNING, "stembridge.sketch"):
        assert heard(song(CLUB), cache_dir=tmp_path) == first
    assert "made again" in caplog.text
    assert file.read_bytes() == whole


def test_without_a_song_there_is_nothing_to_hear_and_a_cancelled_hearing_keeps_nothing(tmp_path: Path) -> None:
    with pytest.raises(MissingContext):
        heard(song(CLUB), source=None)
    for steps in (0, 3, 12):
        asked = iter(range(1000))
        request = song(CLUB).request(Verb.COMPLETE, 5, 4, cache_dir=tmp_path)
        with pytest.raises(Cancelled):
            analyse_song(request, lambda _: None, lambda asked=asked, steps=steps: next(asked) >= steps)
    assert list(tmp_path.glob("decoded/*_song-*")) == []


# --- a tempo map of estimated beats -----------------------------------------------------------------------------------
@pytest.mark.parametrize("steady", [True, False])
@pytest.mark.parametrize("first_s", [-0.3, 0.0, 0.002, 0.01, 0.09, 0.26, 0.5, 1.3, 1.99, 9.1])
@pytest.mark.parametrize("pulse", [(4, False), (3, False), (2, True)])
def test_bar_lines_of_the_map_fall_on_the_estimated_downbeats(
    first_s: float, steady: bool, pulse: tuple[int, bool]
) -> None:
    per_bar, compound = pulse
    rate, beat_s = 1000, 0.5
    lines = (first_s + beat_s * np.arange(-3 * per_bar, 40)) * rate
    tempo_map = estimated_tempo_map(Pulse(lines, 3 * per_bar, per_bar, compound, steady), lambda frame: frame / rate)
    bars = np.array([line.time_s for line in tempo_map.grid(0.0, 15.0) if line.is_bar_line])
    downbeats = first_s + per_bar * beat_s * np.arange(-20, 40)
    inside = downbeats[(downbeats > 0.005) & (downbeats < 15.0)]
    assert np.abs(bars[:, None] - inside[None]).min(axis=0).max() < 0.005
    assert tempo_map.points[-1].bpm == pytest.approx(180.0 if compound else 120.0)
    assert str(tempo_map.points[-1].signature) == ("6/8" if compound else f"{per_bar}/4")
