"""The judge is judged: known damage of growing size, done to good takes of songs in several tempi and meters, lowers
the measure that is about it step by step, leaves the others alone, and never makes a take better.

The good take is the same band playing the region once more: other voicings, velocities and noises, no copied sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from engine.api import GenerationRequest
from engine.report import measure, score, subscores
from protocol.music import TempoMap, TimeSignature
from protocol.vocabulary import Verb
from tests.support.degrade import amplified, crossfaded, noisy, pasted, slowed, transposed
from tests.support.songs import Song, render_song, sketch_request

pytestmark = pytest.mark.slow

RATE = 22_050
FIRST_BAR, BARS = 7, 3
A_MINOR = ("Am", "F", "C", "G", "Am", "Dm", "F", "G") * 2
E_MINOR = ("Em", "C", "G", "D", "Em", "Am", "C", "D") * 2
SONGS: dict[str, tuple[TempoMap, tuple[str, ...], str | None]] = {
    "97.53 bpm": (TempoMap.constant(97.53), A_MINOR, "A minor"),
    "140 bpm in 3/4, key unknown": (TempoMap.constant(140, TimeSignature(3, 4)), E_MINOR, None),
    "84 bpm in 6/8": (TempoMap.constant(84, TimeSignature(6, 8)), A_MINOR, "A minor"),
    "a ramp from 100 to 130": (TempoMap.from_flat([0, 100, 4, 4, 1, 30, 130, 4, 4, 0]), A_MINOR, "C major"),
}
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
PARTS = ("seam", "click", "level", "grid", "key", "chords", "novelty")

Audio = np.ndarray[Any, Any]


class Session:
    """A song, one region of it, and the same band ready to play it again."""

    def __init__(self, tempo_map: TempoMap, chords: tuple[str, ...], key: str | None) -> None:
        self.tempo_map, self.chords = tempo_map, chords
        self.song: Song = render_song(chords, tempo_map, RATE)
        self.region = self.song.frames_of_bars(FIRST_BAR, BARS)
        self.request: GenerationRequest = sketch_request(self.song, self.region, Verb.REPAINT, key=key)
        self.own = self.song.audio[:, slice(*self.region)]
        self._measured: dict[bytes, dict[str, Any]] = {}

    @lru_cache(maxsize=32)  # noqa: B019  a session lives as long as its module
    def played(self, *, cents: float = 0.0, fifths: int = 0) -> Audio:
        """The whole song once more, sharp by `cents` or in a key `fifths` up the circle, in the same tempo."""
        chords = tuple(_up_fifths(chord, fifths) for chord in self.chords)
        again = render_song(chords, slowed(self.tempo_map, cents), RATE, seed=7).audio
        return transposed(again, cents, self.song.audio.shape[1], RATE) if cents else again

    def take(self, late_ms: float = 0.0, **how: Any) -> Audio:
        """The region as `played`, joined as a splice would."""
        late = round(late_ms / 1000.0 * RATE)
        return self.joined(self.played(**how)[:, self.region[0] - late : self.region[1] - late])

    def joined(self, take: Audio) -> Audio:
        return crossfaded(take, self.own, round(0.015 * RATE))

    def measure(self, take: Audio) -> dict[str, Any]:
        take = take.astype(np.float32)
        heard = take.tobytes()
        if heard not in self._measured:
            self._measured[heard] = measure(
                take, region=self.region, rate=RATE, request=self.request, spliced_gain_db=0.0
            )
        return self._measured[heard]


def _up_fifths(chord: str, fifths: int) -> str:
    root = chord.removesuffix("m")
    return NAMES[(NAMES.index(root) + 7 * fifths) % 12] + chord[len(root) :]


@pytest.fixture(scope="module", params=SONGS, ids=list(SONGS))
def session(request: pytest.FixtureRequest) -> Session:
    return Session(*SONGS[request.param])


def fell(values: Sequence[float]) -> bool:
    return all(after < before for before, after in pairwise(values))


def never_rose(values: Sequence[float]) -> bool:
    return all(after <= before + 1e-9 for before, after in pairwise(values))


def judged(
    session: Session,
    takes: Sequence[Audio],
    part: str,
    *,
    unmoved: tuple[str, ...],
    figure: Callable[[dict[str, Any]], float],
    by: float = 0.05,
) -> None:
    """`takes` get worse one by one: their `figure` falls, the subscore `part` never rises and ends far lower, the parts
    `unmoved` stay within `by`, and the first take beats every other."""
    measured = [session.measure(take) for take in takes]
    parts = [subscores(measures) for measures in measured]
    assert fell([figure(measures) for measures in measured])
    values = [float(found[part] or 0.0) for found in parts]
    assert never_rose(values)
    assert values[-1] < values[0] - 0.4
    for other in unmoved:
        of_other = [found[other] for found in parts]
        assert max(of_other) - min(of_other) <= by, (other, of_other)
    scores = [score(measures) for measures in measured]
    assert scores[0] > 95
    assert max(scores[1:]) < scores[0] - 0.5, scores


def test_lateness_is_the_grids_alone(session: Session) -> None:
    judged(
        session,
        [session.take(late_ms=ms) for ms in (0, 5, 10, 20, 30, 40)],
        "grid",
        unmoved=("level", "key", "chords", "novelty"),
        figure=lambda m: -abs(m["grid"]["shift_ms"]),
    )


def test_being_out_of_tune_is_a_matter_of_key_and_chords(session: Session) -> None:
    judged(
        session,
        [session.take(cents=cents) for cents in (0, 10, 20, 30, 45, 60)],
        "key",
        unmoved=("seam", "click", "level", "grid", "novelty"),
        figure=lambda m: m["key"]["agreement"],
    )


@pytest.mark.parametrize("part", ["key", "chords"])
def test_the_wrong_key_costs_the_more_the_further_round_the_circle(session: Session, part: str) -> None:
    judged(
        session,
        [session.take(fifths=fifths) for fifths in range(7)],
        part,
        unmoved=("seam", "click", "level", "grid", "novelty"),
        figure=lambda m: m[part]["agreement"],
    )


def test_a_gain_is_the_levels_and_at_last_the_seams(session: Session) -> None:
    good = session.take()
    judged(
        session,
        [amplified(good, -3.0 * step) for step in range(5)],
        "level",
        unmoved=("click", "grid", "key", "chords", "novelty"),
        figure=lambda m: m["level"]["difference_lu"],
    )


def test_the_more_of_a_take_is_one_excerpt_the_less_is_new(session: Session) -> None:
    good, start = session.take(), session.song.frames_of_bars(1, 1)[0]
    excerpt = session.song.audio[:, start : start + good.shape[1]]
    judged(
        session,
        [session.joined(pasted(good, excerpt, share)) for share in (0, 0.5, 0.6, 0.7, 0.85, 1)],
        "novelty",
        unmoved=("click", "level", "key", "chords"),
        figure=lambda m: -m["novelty"]["copy_share"],
        by=0.1,
    )


def test_a_bar_pasted_again_and_again_is_one_excerpt(session: Session) -> None:
    good = session.take()
    bar = session.song.audio[:, slice(*session.song.frames_of_bars(3, 1))]
    values = []
    for share in (0.0, 0.4, 0.6, 0.8, 1.0):
        found = session.measure(session.joined(pasted(good, bar, share)))
        assert found["novelty"]["copy_share"] == pytest.approx(share, abs=0.1)
        values.append(float(subscores(found)["novelty"] or 0.0))
    assert never_rose(values)
    assert values[-1] < 0.1


def test_three_excerpts_from_three_places_are_an_arrangement(session: Session) -> None:
    bars = [session.song.audio[:, slice(*session.song.frames_of_bars(bar, 1))] for bar in (5, 2, 12)]
    together = np.concatenate(bars, axis=1)
    missing = max(0, session.own.shape[1] - together.shape[1])  # bars of a ramp differ in length
    take = np.concatenate([together, session.own[:, session.own.shape[1] - missing :]], axis=1)
    found = session.measure(session.joined(take[:, : session.own.shape[1]]))
    assert found["novelty"]["copy_share"] == pytest.approx(1 / 3, abs=0.05)
    assert (subscores(found)["novelty"] or 0.0) > 0.9


def test_noise_has_neither_key_nor_chord_nor_time(session: Session) -> None:
    """Notes and hits stand out of much noise, and the judge listens for these: noise must be about as loud as the music
    before it costs more than a point or two, and then it costs everything."""
    good = session.take()
    measured = [session.measure(noisy(good, share)) for share in (0, 0.5, 0.6, 0.7, 0.8, 1)]
    assert fell([measures["key"]["tonal"] for measures in measured])
    assert fell([score(measures) for measures in measured])
    assert score(measured[-1]) < 50
    left = subscores(measured[-1])
    assert [left[part] for part in ("grid", "key", "chords")] == pytest.approx([0, 0, 0], abs=0.2)


def test_a_hard_cut_is_a_click_the_louder_the_further_the_waveform_jumps(session: Session) -> None:
    """The cut goes through the middle of a held chord, where there is no attack to hide it."""
    song = render_song(("Am",) * 16, session.tempo_map, RATE, drums=False)
    start = round(song.tempo_map.time_at(25.4) * RATE)
    region = (start, start + 2 * RATE)
    request = sketch_request(song, region)
    own, elsewhere = (song.audio[:, start + shift : start + shift + 2 * RATE] for shift in (0, 23))

    def measured(share: float) -> dict[str, Any]:
        take = ((1 - share) * own + share * elsewhere).astype(np.float32)
        return measure(take, region=region, rate=RATE, request=request, spliced_gain_db=0.0)

    found = [measured(share) for share in (0, 0.05, 0.1, 0.2, 0.5, 1)]
    assert fell([-max(m["click"]["start_db"], m["click"]["end_db"]) for m in found])
    values = [float(subscores(m)["click"] or 0.0) for m in found]
    assert values[0] == 1.0
    assert never_rose(values)
    assert values[-1] < 0.7
    soft = crossfaded(elsewhere, own, 400)
    faded = measure(soft, region=region, rate=RATE, request=request, spliced_gain_db=0.0)
    assert subscores(faded)["click"] == 1.0
    assert score(found[-1]) < score(faded)


def test_takes_are_ranked_as_a_musician_would(session: Session) -> None:
    good = session.take()
    ranked = {
        "good": good,
        "10 ms late": session.take(late_ms=10),
        "40 ms late and quiet": amplified(session.take(late_ms=40), -6),
        "in the wrong key": session.take(fifths=5),
        "noise": noisy(good, 1.0),
    }
    scores = {name: score(session.measure(take)) for name, take in ranked.items()}
    assert max(scores, key=lambda name: scores[name]) == "good"
    assert min(scores, key=lambda name: scores[name]) == "noise"
    assert scores["10 ms late"] > max(scores["40 ms late and quiet"], scores["in the wrong key"])
