"""Stretching between attacks: every attack once, unharmed and where the other tempo puts it; tones without a wobble."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.measures.onsets import onset_times
from engine.sketch.analysis import analyse
from engine.sketch.assemble import assemble
from engine.sketch.grid import grid_for
from engine.sketch.material import material
from engine.sketch.path import Path
from engine.sketch.timescale import APART_S, DRIFT_S, needs_stretching, placed
from protocol.music import TempoMap, TempoPoint
from tests.support.songs import Audio, Song, sketch_request

RATE = 22_050


def lines(first_s: float, lengths_s: list[float]) -> np.ndarray:
    return np.cumsum([first_s, *lengths_s]) * RATE


@st.composite
def excerpts(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lines of an excerpt, the lines it shall fall on, and attacks within it (frames)."""
    lengths = draw(st.lists(st.floats(0.25, 0.7), min_size=1, max_size=8))
    ratios = draw(st.lists(st.floats(0.85, 1.15), min_size=len(lengths), max_size=len(lengths)))
    own = lines(draw(st.floats(0.0, 60.0)), lengths)
    target = lines(draw(st.floats(0.0, 60.0)), [length * ratio for length, ratio in zip(lengths, ratios, strict=True)])
    inside = draw(st.lists(st.floats(0.0, 1.0), max_size=12))
    return own, target, np.sort(own[0] + np.array(inside) * (own[-1] - own[0]))


def offset_at(pieces: list, frame: float) -> int:
    return [piece for piece in pieces if piece.start <= frame + 1][-1].offset


@settings(deadline=None)
@given(excerpts())
def test_attacks_fall_where_the_other_tempo_puts_them(excerpt: tuple) -> None:
    own, target, attacks = excerpt
    pieces = placed(own, target, attacks, RATE)
    starts = [piece.start for piece in pieces]
    assert starts == sorted(set(starts))
    assert abs(own[0] - offset_at(pieces, target[0]) - target[0]) <= DRIFT_S * RATE + 2
    assert abs(own[-1] - pieces[-1].offset - target[-1]) <= DRIFT_S * RATE + 2
    alone = [a for a in attacks if min(abs(a - b) for b in [*own, *attacks[attacks != a]]) >= APART_S * RATE]
    for attack in alone:
        wanted = np.interp(attack, own, target)
        assert abs(attack - offset_at(pieces, wanted) - wanted) <= DRIFT_S * RATE + 2


@given(st.lists(st.floats(0.3, 0.7), min_size=2, max_size=8), st.floats(0.9, 1.1), st.floats(-0.015, 0.015))
def test_an_attack_played_beside_its_line_stays_as_far_beside_it(
    lengths: list[float], ratio: float, by_s: float
) -> None:
    own = lines(10.0, lengths)
    target = 0.5 * own[0] + ratio * (own - own[0])
    pieces = placed(own, target, own[1:-1] + by_s * RATE, RATE)
    for line, wanted in zip(own[1:-1], target[1:-1], strict=True):
        assert abs(line - offset_at(pieces, wanted) - wanted) <= DRIFT_S * RATE + 2


def test_between_grids_of_one_tempo_nothing_is_moved() -> None:
    own = lines(3.0, [0.5] * 8)
    assert not needs_stretching(own, own - 12_345.3, RATE)
    assert len(placed(own, own - 12_345.3, own[:-1] + 900.0, RATE)) == 1
    assert needs_stretching(own, lines(9.0, [0.505] * 8), RATE)


# --- as it sounds -----------------------------------------------------------------------------------------------------
def clicks(tempo_map: TempoMap, bars: int, per_beat: int = 2) -> tuple[Song, np.ndarray]:
    """A soft chord with a click of 3 ms at every eighth, and where these are (seconds)."""
    end_s = tempo_map.bar_start(bars + 1)
    time = np.arange(round(end_s * RATE)) / RATE
    audio = 0.03 * sum(np.sin(2 * np.pi * hz * time) for hz in (220.0, 277.18, 329.63))
    at = np.array([tempo_map.time_at(k / per_beat) for k in range(4 * per_beat * bars)])
    shape = np.exp(-np.arange(round(0.003 * RATE)) / (0.0006 * RATE))
    for index, second in enumerate(at):
        first = round(second * RATE)
        audio[first : first + len(shape)] += (0.8 if index % per_beat == 0 else 0.4) * shape[: len(audio) - first]
    return Song(np.asarray(audio[None], np.float32), RATE, tempo_map, ("A",) * bars, ()), at


def played(song: Song, first_bar: int, bars: int, from_bar: int) -> tuple[Audio, int]:
    """`bars` bars from `first_bar` on, made of those from `from_bar` on; and where the region begins."""
    request = sketch_request(song, song.frames_of_bars(first_bar, bars))
    features = analyse(request.source, (0, request.source.frames), None, lambda _: None, lambda: False)
    grid = grid_for(request, features, request.region, lambda: False)
    chosen = material(request.source, grid, features, request.region)
    away = grid.per_bar * (from_bar - first_bar)
    path = Path(chosen.targets, chosen.targets + away, 0.0, ())
    audio, start, _, _ = assemble(request.source, chosen, path, lambda: False)
    begin = request.region[0] - start
    return audio[:, begin : begin + request.region[1] - request.region[0]], request.region[0]


@pytest.mark.parametrize("per_cent", [-8.0, -2.0, -0.7, 0.0, 0.7, 2.0, 8.0])
def test_every_click_is_heard_once_at_its_height_and_within_a_millisecond(per_cent: float) -> None:
    tempo_map = TempoMap((TempoPoint(0.0, 100.0), TempoPoint(19.2, 100.0 * (1 + per_cent / 100))))
    song, at = clicks(tempo_map, 16)
    audio, first = played(song, 10, 4, from_bar=2)
    loud = np.abs(np.diff(audio[0], prepend=0.0))
    inside = (at > first / RATE - 0.01) & (at < (first + audio.shape[1]) / RATE - 0.01)
    due = at[inside] * RATE - first
    heard = np.zeros(len(loud), dtype=bool)
    for index, frame in enumerate(due):
        near = slice(max(0, round(frame) - round(0.02 * RATE)), round(frame) + round(0.02 * RATE))
        peak = near.start + int(np.argmax(loud[near]))
        assert abs(peak - frame) <= 0.001 * RATE
        assert loud[peak] > 0.9 * (0.8 if index % 2 == 0 else 0.4)
        heard[max(0, peak - 2) : peak + round(0.004 * RATE)] = True
    assert loud[~heard].max() < 0.05, "something between the clicks clicks"


@pytest.mark.parametrize("per_cent", [-2.0, 2.0])
def test_a_held_chord_keeps_its_pitch_and_its_level_when_stretched(per_cent: float) -> None:
    tempo_map = TempoMap((TempoPoint(0.0, 100.0), TempoPoint(19.2, 100.0 * (1 + per_cent / 100))))
    end_s = tempo_map.bar_start(17)
    time = np.arange(round(end_s * RATE)) / RATE
    tone = (0.2 * np.sin(2 * np.pi * 220.0 * time) + 0.1 * np.sin(2 * np.pi * 330.0 * time))[None].astype(np.float32)
    audio, _ = played(Song(tone, RATE, tempo_map, ("A",) * 16, ()), 10, 4, from_bar=2)
    level = np.sqrt(np.square(audio[0, : audio.shape[1] // 441 * 441].reshape(-1, 441)).mean(axis=1))
    assert level.min() > 0.7 * np.median(level)
    assert level.max() < 1.3 * np.median(level)
    spectrum = np.abs(np.fft.rfft(audio[0] * np.hanning(audio.shape[1])))
    hertz = np.argmax(spectrum) * RATE / audio.shape[1]
    assert hertz == pytest.approx(220.0, abs=0.3)
    assert len(onset_times(audio[0], RATE)) == 0
