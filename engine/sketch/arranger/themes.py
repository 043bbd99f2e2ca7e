"""What a melody is made of before it has pitches: motifs, their forms, and where its phrases rise, turn and breathe.

A section has one theme. Its phrases come as question and answer; a motif is stated, repeated at another height, turned,
and brought to rest. Rhythm texts are as in `comping`: ``x`` a note, ``-`` held, ``.`` silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.sketch.arranger.comping import Rhythm
from engine.sketch.arranger.groove import BarGroove

# --- rhythms of one bar, from calm to lively --------------------------------------------------------------------------
_STATED = (
    Rhythm("x-------x-----..", "x-------x---", "x--x--"),
    Rhythm("x-----x-x-----..", "x-----x-x---", "x-xx--"),
    Rhythm("..x-x-x---x---..", "..x-x-x-x---", ".xxx--"),
    Rhythm("x---x-x-x---x-..", "x---x-x-x---", "x-xx-x"),
    Rhythm("x-x-x---..x-x---", "x-x-x---x-..", "xxxx-."),
    Rhythm("..x-x-x-x---x-x-", "..x-x-x-x-x-", ".xxx-x"),
    Rhythm("x--xx---x-x-x---", "x--xx---x-x-", "x-xxxx"),
    Rhythm("x-x-x-x---x-x-x-", "x-x-x-x-x---", "xxxxx-"),
    Rhythm("x-xxx-x-..x-x-x-", "x-xxx-x-x---", "xxxx-x"),
)
_TURNED = (
    Rhythm("x-----------x---", "x-------x---", "x----x"),
    Rhythm("x---x---x---x---", "x---x---x---", "x--x-x"),
    Rhythm("x-----x---x---x-", "x---x---x-x-", "x-xx--"),
    Rhythm("x---x-x-x-x-x---", "x-x-x---x-x-", "xxxx--"),
    Rhythm("..x---x-x-x---x-", "..x---x-x---", ".xx-xx"),
    Rhythm("x-x-x-x-x---x---", "x-x-x-x-x---", "xxxx-x"),
)
_ASKING = (
    Rhythm("x-x-x---------..", "x---x-----..", "x-x--."),
    Rhythm("x---x-------....", "x-x-x---....", "xxx--."),
    Rhythm("..x-x-------....", "..x-x---....", ".xx--."),
)
_RESTING = (
    Rhythm("x---x-------....", "x---x---....", "x-x--."),
    Rhythm("x-------------..", "x---------..", "x----."),
    Rhythm("x-x-x-------....", "x-x-x---....", "xxx--."),
)
_REST = Rhythm("." * 16, "." * 12, "." * 6)

_FORMS: dict[int, tuple[tuple[str, ...], ...]] = {
    1: (("end",),),
    2: (("state", "end"),),
    3: (("state", "turn", "end"), ("state", "state", "end")),
    4: (("state", "repeat", "turn", "end"), ("state", "turn", "state", "end"), ("state", "rest", "turn", "end")),
    5: (("state", "repeat", "turn", "turn", "end"), ("state", "turn", "state", "turn", "end")),
}
_SHAPES = ((0, 1, 2, 1), (0, -1, 0, 2), (0, 2, 1, 3), (0, 1, 0, -1), (0, -1, -2, -1), (0, 3, 2, 1), (0, 2, 4, 3))
"""Scale steps of a motif's notes from its first; longer motifs go round again, a step away."""


@dataclass(frozen=True)
class Phrase:
    """Bars that belong together: what each does (`form`), and whether it ends open (a question) or closed."""

    bars: tuple[BarGroove, ...]
    form: tuple[str, ...]
    is_answer: bool
    closes: bool
    """True for the last of its section."""


@dataclass(frozen=True)
class Theme:
    """One section's material. `shapes` are scale steps; `climax` is the place of a phrase's highest note (0 to 1)."""

    state: Rhythm
    turn: Rhythm
    asking: Rhythm
    resting: tuple[Rhythm, Rhythm]
    shape: tuple[int, ...]
    turned_shape: tuple[int, ...]
    sequence: int
    climax: float
    form: int

    def rhythm(self, doing: str, phrase: Phrase, visit: int) -> Rhythm:
        """The rhythm of a bar; the end of a phrase varies with each `visit` to the section."""
        if doing == "end":
            return self.resting[visit % 2] if phrase.is_answer else self.asking
        return {"state": self.state, "repeat": self.state, "turn": self.turn, "rest": _REST}[doing]

    def height(self, doing: str, index: int) -> float:
        """Scale steps of a bar's note `index` from the line's middle path."""
        shape = self.turned_shape if doing in ("turn", "end") else self.shape
        step = shape[index % len(shape)] + (index // len(shape))
        return float(step + (self.sequence if doing == "repeat" else 0))


def theme(activity: float, chance: np.random.Generator) -> Theme:
    """Material as lively as `activity` (0 to 1), the rest by chance; always the same count of draws."""
    draw = chance.random(10)

    def near(pool: Sequence[Rhythm], at: float, width: float = 3.0) -> Rhythm:
        place = activity * (len(pool) - 1) + width * (at - 0.5)
        return pool[int(min(len(pool) - 1, max(0, round(place))))]

    def any_of(count: int, at: float) -> int:
        return min(count - 1, int(at * count))

    first = any_of(len(_RESTING), draw[3])
    shape = _SHAPES[any_of(len(_SHAPES), draw[5])]
    turned = tuple(-step for step in shape) if draw[6] < 0.5 else _SHAPES[any_of(len(_SHAPES), draw[7])]
    return Theme(
        state=near(_STATED, draw[0]),
        turn=near(_TURNED, draw[1]),
        asking=_ASKING[any_of(len(_ASKING), draw[2])],
        resting=(_RESTING[first], _RESTING[(first + 1) % len(_RESTING)]),
        shape=shape,
        turned_shape=turned,
        sequence=(-1, 1, 2)[any_of(3, draw[4])],
        climax=0.5 + 0.25 * draw[8],
        form=int(draw[9] * 60),
    )


def phrases(run: Sequence[BarGroove], length: int, form: int, spare: bool) -> list[Phrase]:
    """The phrases of one section, of `length` bars or what is left; a lone last bar joins the phrase before.

    `spare`: phrases of four leave a bar to the others.
    """
    cuts = list(range(0, len(run), length))
    if len(cuts) > 1 and len(run) - cuts[-1] == 1:
        cuts.pop()
    found = []
    for number, (begin, end) in enumerate(zip(cuts, [*cuts[1:], len(run)], strict=True)):
        forms = _FORMS[end - begin]
        chosen = forms[-1] if spare and end - begin == 4 else forms[(form + number // 2) % min(2, len(forms))]
        closes = end == len(run)
        found.append(Phrase(tuple(run[begin:end]), chosen, number % 2 == 1 or closes, closes))
    return found
