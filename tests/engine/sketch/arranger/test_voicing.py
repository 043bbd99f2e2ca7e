from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.harmony import Chord, Quality
from engine.sketch.arranger.voicing import Pedal, Setting, cheapest, voice_lead, voicings
from protocol.errors import BadArgument

chords = st.builds(Chord, st.integers(0, 11), st.sampled_from(Quality))
progressions = st.lists(chords, min_size=1, max_size=8)
COMMON = (
    "Am F C G Am F C E7",
    "C Am Dm G C F G C",
    "Dm7 G7 Cmaj7 Fmaj7 Bm7b5 E7 Am7 A7",
    "Bb Gm Eb F Bb Cm F7 Bb",
    "Em C G D Em Am B7 Em",
)


def parse(text: str) -> list[Chord]:
    return [Chord.parse(name) for name in text.split()]


@given(progressions, st.integers(40, 60), st.integers(24, 30), st.integers(3, 5))
def test_voicings_are_of_the_chord_in_the_range_and_rising(
    progression: list[Chord], low: int, width: int, voices: int
) -> None:
    found = voice_lead(progression, low, low + width, voices)
    assert len(found) == len(progression)
    for chord, pitches in zip(progression, found, strict=True):
        assert len(pitches) == voices
        assert all(low <= pitch <= low + width and pitch % 12 in chord.pitch_classes for pitch in pitches)
        assert list(pitches) == sorted(set(pitches))


@given(progressions)
def test_four_voices_hold_third_and_seventh_and_double_neither(progression: list[Chord]) -> None:
    for chord, pitches in zip(progression, voice_lead(progression, 50, 77, 4), strict=True):
        above = [(pitch - chord.root) % 12 for pitch in pitches]
        guides = [interval for interval in chord.quality.intervals if interval in (2, 3, 4, 5, 10, 11)]
        assert all(above.count(interval) >= 1 for interval in guides)
        assert all(above.count(interval) == 1 for interval in guides if interval in (10, 11))
        assert sum(above.count(interval) for interval in guides) <= len(guides) + 1


@given(progressions)
def test_nothing_is_clustered_below_c3(progression: list[Chord]) -> None:
    for pitches in voicings(progression, Setting(36, 76, 5, wide=True, rooted=True)):
        assert all(after - before >= 7 for before, after in pairwise(pitches) if before < 48)
        assert all(after - before >= 3 for before, after in pairwise(pitches) if before < 53)


@pytest.mark.parametrize("text", COMMON)
@pytest.mark.parametrize("voices", [3, 4])
def test_common_progressions_move_little_and_never_in_parallel_outside(text: str, voices: int) -> None:
    found = voice_lead(parse(text), 52, 77, voices)
    moves = [abs(b - a) for before, after in pairwise(found) for a, b in zip(before, after, strict=True)]
    assert np.mean(moves) < 2.0
    assert max(moves) <= 7
    assert not [pair for pair in pairwise(found) if is_parallel(*pair)]


def is_parallel(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    first, second = (before[-1] - before[0]) % 12, (after[-1] - after[0]) % 12
    low, high = after[0] - before[0], after[-1] - before[-1]
    return first == second and first in (0, 7) and low * high > 0


def test_a_parallel_is_recognised_by_this_test() -> None:
    assert is_parallel((48, 52, 55), (50, 53, 57))


def test_voicings_chosen_together_move_less_than_root_positions() -> None:
    progression = parse("Am F C G Am F C G")
    led = voice_lead(progression, 52, 77, 3)
    blocks = [tuple(57 + (chord.root - 57) % 12 + i for i in chord.quality.intervals) for chord in progression]

    def motion(found: list[tuple[int, ...]]) -> int:
        return sum(abs(b - a) for pair in pairwise(found) for a, b in zip(*pair, strict=True))

    assert motion(led) < 0.4 * motion(blocks)


def test_seventh_chords_resolve_by_guide_tones() -> None:
    """ii V I: the seventh of each falls to the third of the next, the third stays as the seventh."""
    two, five, one = voice_lead(parse("Dm7 G7 Cmaj7"), 52, 77, 4)
    for before, after, seventh, third in ((two, five, 0, 11), (five, one, 5, 4)):
        place = next(k for k, pitch in enumerate(before) if pitch % 12 == seventh)
        assert after[place] % 12 == third
        assert before[place] - after[place] == 1


def test_the_voicings_around_another_centre_are_other_inversions() -> None:
    low = voicings(parse(COMMON[0]), Setting(50, 79, 4, centre=60))
    high = voicings(parse(COMMON[0]), Setting(50, 79, 4, centre=68))
    assert low != high
    assert np.mean(high) > np.mean(low) + 3


def test_a_pedal_is_root_and_fifth() -> None:
    (found,) = voicings([Pedal(9)], Setting(52, 77, 4))
    assert {pitch % 12 for pitch in found} == {9, 4}


def test_a_range_without_the_chord_is_refused() -> None:
    with pytest.raises(BadArgument, match="wider range"):
        voice_lead([Chord(0)], 61, 63, 3)


def test_a_narrow_range_gives_what_it_holds() -> None:
    assert voice_lead([Chord(0)], 60, 64, 4) == [(60, 64)]


@given(st.data(), st.integers(1, 4), st.integers(1, 4))
def test_the_path_is_the_cheapest_of_all(data: st.DataObject, steps: int, width: int) -> None:
    values = st.integers(0, 9)
    costs = [np.array([data.draw(values) for _ in range(width)], dtype=np.float64) for _ in range(steps)]
    links = [
        np.array([[data.draw(values) for _ in range(width)] for _ in range(width)], dtype=np.float64)
        for _ in range(steps - 1)
    ]

    def total(path: tuple[int, ...]) -> float:
        own = sum(cost[at] for cost, at in zip(costs, path, strict=True))
        return float(own + sum(link[a, b] for link, (a, b) in zip(links, pairwise(path), strict=True)))

    best = min(total(path) for path in product(range(width), repeat=steps))
    assert total(tuple(cheapest(costs, lambda step: links[step]))) == best
