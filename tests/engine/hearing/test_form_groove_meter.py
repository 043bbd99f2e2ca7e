"""Form from bars, accents and swing from attacks, and the bar from a bare pulse."""

from __future__ import annotations

import numpy as np
import pytest

from engine.hearing.groove import accents, swing
from engine.hearing.meter import TWELFTHS, meter
from engine.hearing.sections import structure


def bars_of(form: str, stray: float = 0.1, seed: int = 1) -> tuple[np.ndarray, list[str]]:
    """Eight different bars per letter, the same again for the same letter, give or take `stray`."""
    rng = np.random.default_rng(seed)
    phrases = {label: rng.standard_normal((8, 12)) for label in sorted(set(form))}
    rows = np.concatenate([phrases[label] for label in form])
    return rows + stray * rng.standard_normal(rows.shape), [label for label in form for _ in range(8)]


@pytest.mark.parametrize("form", ["ABCD", "ABA", "AABA", "ABAB", "ABABCB", "AAAA"])
@pytest.mark.parametrize("stray", [0.05, 0.3])
def test_the_form_is_found(form: str, stray: float) -> None:
    rows, truth = bars_of(form, stray)
    assert structure(rows) == truth


def test_a_section_begins_where_the_sound_changes_if_nothing_is_heard_twice() -> None:
    rows, _ = bars_of("AB")
    rows[8:] += 2.0
    labels = structure(rows)
    assert set(labels[:8]) == {"A"}
    assert "A" not in labels[8:]


def test_an_intro_of_four_bars_does_not_move_the_sections() -> None:
    rows, _ = bars_of("ABAB")
    intro = np.random.default_rng(9).standard_normal((4, 12))
    labels = structure(np.concatenate([intro, rows]))
    assert labels[4:12] == labels[20:28]
    assert labels[12:20] == labels[28:36]
    assert labels[4] != labels[12]
    assert labels[3] != labels[4]


def test_a_song_that_never_changes_has_one_section() -> None:
    rng = np.random.default_rng(2)
    assert set(structure(np.ones(12) + 0.01 * rng.standard_normal((40, 12)))) == {"A"}
    assert structure(np.zeros((3, 4))) == ["A"] * 3
    assert structure(np.zeros((0, 4))) == []


STEP_S = 0.0116


def attacks(times_s: list[float], seconds: float = 20.0) -> tuple[np.ndarray, np.ndarray]:
    frames = np.arange(round(seconds / STEP_S)) * STEP_S
    rise = sum(np.exp(-0.5 * ((frames - time) / 0.01) ** 2) for time in times_s)
    return 10.0 * np.asarray(rise) + 0.2 * np.random.default_rng(0).random(len(frames)), frames


def test_accents_lie_where_something_begins_and_nowhere_else() -> None:
    beats = np.arange(0.5, 19.0, 0.5)
    rise, frames = attacks(list(beats))
    sixteenths = np.arange(0.5, 19.0, 0.125)
    strength = accents(np.stack([rise, rise, 0 * rise], axis=1), frames, sixteenths)
    assert strength[::4, :2].min() > 0.8
    assert np.delete(strength, np.s_[::4], axis=0).max() < 0.2
    assert strength[:, 2].max() == 0.0
    assert not accents(np.stack([rise] * 3, axis=1), frames, np.array([-5.0, 99.0])).any()


@pytest.mark.parametrize("place", [0.5, 0.6, 2 / 3])
def test_the_swing_is_where_the_second_eighth_falls(place: float) -> None:
    rise, frames = attacks([0.5 * (k + part) for k in range(40) for part in (0.0, place)])
    assert swing(rise, frames / 0.5) == pytest.approx(place, abs=0.015)


def test_sixteenths_are_no_swing() -> None:
    rise, frames = attacks([0.125 * k for k in range(160)])
    assert swing(rise, frames / 0.5) == 0.5
    assert swing(np.zeros(100), np.arange(100) * 0.1) == 0.5


PATTERNS = {  # beats of the bar: low, middle, high; beats, compound
    "4/4": ([0, 2.5], [1, 3], [k / 2 for k in range(8)], 4.0, 4, False),
    "3/4": ([0], [1, 2], [0, 1, 2], 3.0, 3, False),
    "6/8": ([0], [1.5], [k / 2 for k in range(6)], 3.0, 2, True),
    "shuffle": ([0, 2], [1, 3], [k + part for k in range(4) for part in (0, 2 / 3)], 4.0, 4, False),
}


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("first", [0, 5, 18])
def test_the_meter_and_its_bar_line_are_read_off_the_attacks(name: str, first: int) -> None:
    *bands, length, beats, compound = PATTERNS[name]
    bar = round(length * TWELFTHS)
    cues = np.zeros((24 * bar, 4))
    for start in range(0, len(cues), bar):
        for band, places in enumerate(bands):
            cues[[start + round(place * TWELFTHS) for place in places], band] = 1.0
        cues[start : start + 6, 3] = np.linspace(1.0, 0.0, 6)
    found = meter(np.roll(cues, first, axis=0)[:, :3], np.roll(cues[:, 3], first), 0.5)
    assert (found.bar, found.beats, found.compound) == (bar, beats, compound)
    assert (found.downbeat - first) % bar == 0
