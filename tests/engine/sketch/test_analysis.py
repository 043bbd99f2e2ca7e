"""The analysis: bounded, cached safely, blind where it must be, and the estimated grid where no tempo is told."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from engine.sketch.analysis import MAX_SPAN_S, Features, analyse, span_to_analyse
from engine.sketch.grid import grid_for
from protocol.errors import Cancelled
from protocol.music import TempoMap, TempoPoint, TimeSignature
from tests.support.songs import POP, MemorySource, Song, render_song, sketch_request


@pytest.fixture(scope="module")
def song() -> Song:
    return render_song(chords=POP * 3)


def features_of(source: MemorySource, cache_dir: Path | None = None) -> Features:
    return analyse(source, (0, source.frames), cache_dir, lambda _: None, lambda: False)


def same(a: Features, b: Features) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("mel_db", "level_db", "chroma"))


def test_a_second_analysis_reads_nothing_of_the_song(song: Song, tmp_path: Path) -> None:
    first = features_of(song.source(), tmp_path)
    again = song.source()
    assert same(first, features_of(again, tmp_path))
    assert again.reads == []


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "other shape"])
def test_a_damaged_cache_is_made_again(
    song: Song, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = features_of(song.source(), tmp_path)
    (file,) = (tmp_path / "decoded").iterdir()
    whole = file.read_bytes()
    if damage == "other shape":
        np.savez(file, mel_db=first.mel_db[:5], level_db=first.level_db, chroma=first.chroma)
    else:
        file.write_bytes({"truncated": whole[: len(whole) // 2], "garbage": b"\x00" * 999, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING, "stembridge.sketch"):
        assert same(first, features_of(song.source(), tmp_path))
    assert "made again" in caplog.text
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_nothing_but_a_warning(song: Song, tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_bytes(b"")
    assert same(features_of(song.source()), features_of(song.source(), blocked))


def test_another_song_never_gets_this_ones_cache(song: Song, tmp_path: Path) -> None:
    features_of(song.source(), tmp_path)
    other = MemorySource(song.audio[:, ::-1].copy(), song.rate)
    assert same(features_of(other, tmp_path), features_of(other))


@pytest.mark.parametrize("minutes", [21, 60, 600])
@pytest.mark.parametrize("at", [0.0, 0.03, 0.5, 0.97, 1.0])
def test_of_a_long_source_only_the_surroundings_are_analysed(minutes: int, at: float) -> None:
    rate = 48_000
    source = MemorySource(np.zeros((1, 0), np.float32), rate)
    source.audio = np.broadcast_to(np.float32(0.0), (1, minutes * 60 * rate))
    middle = round(at * source.frames)
    start, stop = span_to_analyse(source, (middle - rate, middle + rate))
    assert 0 <= start < stop <= source.frames
    assert stop - start <= MAX_SPAN_S * rate
    assert start <= max(middle - 200 * rate, 0)
    assert stop >= min(middle + 200 * rate, source.frames)


def test_pooling_does_not_see_the_blind_span(song: Song) -> None:
    region = song.frames_of_bars(5, 2)
    noisy = song.audio.copy()
    noisy[:, slice(*region)] = 1.0
    lines = np.linspace(0, song.audio.shape[1], 100)
    pooled = [
        features_of(MemorySource(audio, song.rate)).pooler(region)(lines[:-1], lines[1:])
        for audio in (song.audio, noisy)
    ]
    for name in ("chroma", "timbre", "level_db", "flux", "known"):
        assert np.array_equal(getattr(pooled[0], name), getattr(pooled[1], name)), name
    inside = (lines[:-1] > region[0]) & (lines[1:] < region[1])
    assert pooled[0].known[inside].max() == 0.0
    assert pooled[0].known[~inside].max() == 1.0


def test_a_cancelled_analysis_leaves_no_cache(song: Song, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        analyse(song.source(), (0, song.audio.shape[1]), tmp_path, lambda _: None, lambda: True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bpm", [84.0, 97.53, 120.0, 143.21])
def test_an_estimated_grid_meets_the_beats_and_the_bars(bpm: float) -> None:
    song = render_song(chords=POP * 4, tempo_map=TempoMap.constant(bpm))
    region = song.frames_of_bars(6, 2)
    request = sketch_request(song, region, tempo_known=False)
    grid = grid_for(request, features_of(song.source()), region, lambda: False)
    assert grid.name == "estimated"
    assert min(abs(grid.bpm / bpm - octave) for octave in (0.5, 1.0, 2.0)) < 0.002
    beats = np.array([request.frame_of(line.time_s) for line in song.tempo_map.grid(0.0, song.duration_s)])
    inside = grid.starts[(grid.starts > beats[0]) & (grid.starts < beats[-1])]
    half_beats = np.concatenate([beats, (beats[1:] + beats[:-1]) / 2])
    off_s = np.abs(inside[:, None] - half_beats[None]).min(axis=1) / song.rate
    assert np.median(off_s) < 0.012


@pytest.mark.parametrize(
    ("signature", "bpm", "per_bar"),
    [((4, 4), 120.0, 4), ((3, 4), 90.0, 3), ((6, 8), 60.0, 6), ((12, 16), 140.0, 6), ((7, 64), 200.0, 1)],
)
def test_slots_are_counts_grouped_until_they_are_long_enough(
    signature: tuple[int, int], bpm: float, per_bar: int
) -> None:
    song = render_song(chords=POP, tempo_map=TempoMap.constant(60.0))
    request = sketch_request(song, (0, 22_050), tempo_map=TempoMap.constant(bpm, TimeSignature(*signature)))
    grid = grid_for(request, features_of(song.source()), (0, 0), lambda: False)
    assert grid.per_bar == per_bar
    assert np.ptp(grid.lengths) < 1e-3


def test_a_meter_change_gives_slots_of_another_kind() -> None:
    waltz = TempoPoint(4.0, 120.0, TimeSignature(3, 4))
    song = render_song(chords=POP)
    request = sketch_request(song, (0, 22_050), tempo_map=TempoMap((TempoPoint(0.0, 120.0), waltz)))
    grid = grid_for(request, features_of(song.source()), (0, 0), lambda: False)
    three = grid.starts >= 4.0 * song.rate - 1
    assert set(grid.meter[three]) != set(grid.meter[~three])
    assert grid.place[three].max() == 2
    assert grid.place[~three].max() == 3
