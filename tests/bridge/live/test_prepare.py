"""Where a live run joins its source, and what is looped until there is a phrase."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from bridge.live.phrases import Played
from bridge.live.prepare import Start, _base, end_line, last_line, next_line
from protocol.job import ProjectRef
from protocol.music import TempoMap
from protocol.session import Session

RATE = 8_000
MAP = TempoMap.constant(120.0)


@pytest.mark.parametrize(("end_beat", "line"), [(16.0, 16.0), (16.4, 16.0), (16.6, 20.0), (15.9, 16.0), (19.99, 20.0)])
def test_a_source_ends_at_the_bar_line_after_which_only_its_tail_rings(end_beat: float, line: float) -> None:
    assert end_line(MAP, end_beat) == pytest.approx(line)


@pytest.mark.parametrize(("beat", "before", "after"), [(16.0, 16.0, 16.0), (17.3, 16.0, 20.0), (-1.0, -4.0, 0.0)])
def test_bar_lines_are_found_on_both_sides(beat: float, before: float, after: float) -> None:
    assert last_line(MAP, beat) == pytest.approx(before)
    assert next_line(MAP, beat) == pytest.approx(after)


def base_of(
    tmp_path: Path, end_beat: float, phrase_bars: int, join_beat: float | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """The source, what is looped of it, and its beats; the source begins at beat 0."""
    audio = np.random.default_rng(3).uniform(-0.5, 0.5, (2, round(end_beat / 2 * RATE))).astype(np.float32)
    project = ProjectRef(folder=str(tmp_path), media_folder=str(tmp_path), sample_rate=RATE)
    played = Played(project, audio, RATE, 0.0, end_beat)
    start = Start("run", {"phrase_bars": phrase_bars}, Session(), Session, lambda _at: None, "test")
    made = _base(start, played, project, MAP, end_beat if join_beat is None else join_beat)
    written = soundfile.read(made.file, dtype="float32", always_2d=True)[0].T
    assert np.abs(written - made.audio).max() < 1e-6
    return audio, made.audio, made.beats


@pytest.mark.parametrize("end_beat", [16.0, 16.3, 18.5])
def test_the_last_whole_bars_are_looped_wherever_the_source_ends(tmp_path: Path, end_beat: float) -> None:
    source, loop, beats = base_of(tmp_path, end_beat, 2)
    assert beats == 8.0
    assert np.array_equal(loop, source[:, 4 * RATE : 8 * RATE])


def test_of_a_short_source_all_whole_bars_are_looped_and_of_less_than_a_bar_all(tmp_path: Path) -> None:
    source, loop, beats = base_of(tmp_path, 9.0, 4)
    assert (beats, loop.shape) == (8.0, (2, 4 * RATE))
    source, loop, beats = base_of(tmp_path, 3.0, 4)
    assert beats == 3.0
    assert np.array_equal(loop, source)


def test_a_join_inside_the_source_is_led_up_to_by_the_bars_before_it(tmp_path: Path) -> None:
    source, loop, beats = base_of(tmp_path, 20.0, 2, join_beat=12.0)
    assert beats == 8.0
    assert np.array_equal(loop, source[:, 2 * RATE : 6 * RATE])
