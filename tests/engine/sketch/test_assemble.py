"""The joins: over before the attack, every attack whole and once, the level kept whatever the two signals share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.sketch.assemble import ATTACK_S, HARD_FADE_S, join
from engine.sketch.transients import attacks_ms

RATE = 44_100
AT = 22_050
LEAD = round(0.09 * RATE)


def noise(seed: int, frames: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, frames)).astype(np.float32)


def joined(old: np.ndarray, new: np.ndarray, lead: int = LEAD) -> np.ndarray:
    return join(old, AT, new, lead, AT // 2, RATE)


def test_a_join_is_over_before_the_attack() -> None:
    old, new = noise(1, AT + 200), noise(2, LEAD + 10_000)
    out = joined(old, new)
    attack = AT - round(ATTACK_S * RATE)
    assert np.array_equal(out[:, attack:], new[:, LEAD - (AT - attack) :])
    assert np.array_equal(out[:, : AT - LEAD], old[:, : AT - LEAD])
    assert out.shape[1] == AT + 10_000


def test_joining_a_signal_to_its_own_continuation_changes_nothing() -> None:
    whole = noise(3, AT + 10_000)
    out = joined(whole[:, : AT + 200], whole[:, AT - LEAD :])
    np.testing.assert_allclose(out, whole, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.floats(0.0, 1.0))
def test_the_level_holds_through_the_join_for_any_likeness(seed: int, likeness: float) -> None:
    old, other = noise(seed, AT + 10_000), noise(seed + 5000, AT + 10_000)
    new = np.float32(likeness) * old + np.float32(np.sqrt(1 - likeness**2)) * other
    out = joined(old[:, : AT + 200], new[:, AT - LEAD :])
    window = round(0.01 * RATE)
    around = out[:, AT - LEAD : AT + LEAD]
    level = np.sqrt((around[:, : around.shape[1] // window * window].reshape(2, -1, window) ** 2).mean(axis=(0, 2)))
    assert 0.8 < level.min() <= level.max() < 1.25


@pytest.mark.parametrize("lead", [0, 10, 88, 300])
def test_an_excerpt_without_a_lead_still_joins_without_a_step(lead: int) -> None:
    """Two different constant levels: the largest step is what a fade of that length makes."""
    old, new = np.full((1, AT + 500), 0.5, np.float32), np.full((1, lead + 5000), -0.5, np.float32)
    out = joined(old, new, lead)
    assert out.shape[1] == AT + 5000
    assert np.abs(np.diff(out)).max() < 2.5 / (HARD_FADE_S * RATE)
    assert out[0, AT + round(HARD_FADE_S * RATE)] == -0.5


def test_tones_meet_where_they_agree() -> None:
    """Two tones that beat: in some places they are in phase, in others they cancel."""
    t = np.arange(AT + 10_000) / RATE
    old = (np.sin(2 * np.pi * 220 * t))[None].astype(np.float32)
    new = (np.sin(2 * np.pi * 232 * t + 1.0))[None].astype(np.float32)
    out = joined(old[:, : AT + 200], new[:, AT - LEAD :])
    window = RATE // 110
    level = np.sqrt(
        (out[0, AT - LEAD : AT].reshape(-1)[: LEAD // window * window].reshape(-1, window) ** 2).mean(axis=1)
    )
    assert level.min() > 0.6 * np.sqrt(0.5)


# --- attacks near the line -------------------------------------------------------------------------------------------
DECAY = 0.5 * np.exp(-np.arange(1300) / (0.008 * RATE))
HITS = {"old": DECAY * np.random.default_rng(9).standard_normal(1300)}
HITS["new"] = DECAY * np.random.default_rng(10).standard_normal(1300)


def struck(frames: int, hits_ms: tuple[float, ...], line: int, whose: str) -> np.ndarray:
    """Soft noise with hits at milliseconds from the frame `line`."""
    signal = 0.01 * np.random.default_rng(len(whose) + frames).standard_normal(frames)
    for at in hits_ms:
        first = line + round(at * RATE / 1000)
        signal[first : first + 1300] += HITS[whose][: max(0, frames - first)]
    return signal[None].astype(np.float32)


def shares(old: tuple[float, ...], new: tuple[float, ...]) -> dict[tuple[str, float], float]:
    """How much of the first 5 ms of each hit, of the old excerpt and of the new, is in the join of the two."""
    before, after = struck(AT + round(0.012 * RATE), old, AT, "old"), struck(LEAD + 20_000, new, LEAD, "new")
    out = join(before, AT, after, LEAD, AT // 2, RATE)[0]
    found = {}
    for whose, hits in (("old", old), ("new", new)):
        shape = HITS[whose][: round(0.005 * RATE)]
        for at in hits:
            first = AT + round(at * RATE / 1000)
            found[whose, at] = float(out[first : first + len(shape)] @ shape / (shape @ shape))
    return found


@pytest.mark.parametrize(
    ("old", "new", "heard"),
    [
        ((), (0,), {("new", 0)}),
        ((), (-10, 0), {("new", -10), ("new", 0)}),  # early, as it was played
        ((-10,), (0,), {("new", 0)}),  # what was to come in the old excerpt is early: not beside the new
        ((-10,), (-14,), {("new", -14)}),
        ((-14,), (-10,), {("new", -10)}),
        ((-25,), (-8, 0), {("new", -8), ("new", 0)}),
        ((-45,), (0,), {("old", -45), ("new", 0)}),  # an upbeat belongs to what it is in
    ],
)
def test_an_attack_near_the_line_is_heard_whole_or_not_at_all(old: tuple, new: tuple, heard: set) -> None:
    for hit, share in shares(old, new).items():
        assert share == pytest.approx(float(hit in heard), abs=0.15), (hit, share)


@pytest.mark.parametrize(
    ("old", "new"), [((-50,), (-42, 0)), ((-42,), (-50, 0)), ((-70,), (-55, 0)), ((-45,), (-40, 0)), ((-40,), (-45, 0))]
)
def test_an_upbeat_that_both_excerpts_have_is_not_heard_twice_nor_lost(old: tuple, new: tuple) -> None:
    upbeats = [share for (_, at), share in shares(old, new).items() if at < 0]
    assert sorted(upbeats) == pytest.approx([0.0, 1.0], abs=0.15)


def test_noise_and_held_tones_have_no_attacks_and_a_hit_has_one() -> None:
    tone = np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE)
    assert not len(attacks_ms(noise(1, RATE)[0], RATE))
    assert not len(attacks_ms(tone.astype(np.float32), RATE))
    assert attacks_ms(struck(RATE, (0,), AT, "old")[0], RATE) == pytest.approx([AT * 1000 / RATE], abs=1.0)
