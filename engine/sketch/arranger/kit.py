"""What drummers and percussionists share: a page of hits, two hands, and how loud the bar is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from engine.sketch.arranger.groove import BarGroove, Groove
from engine.sketch.score import Drum, Note, on_tick

FEET = frozenset({Drum.KICK, Drum.PEDAL_HAT})
_LENGTH = 0.125

_FIRST = (
    *(Drum.CRASH, Drum.SNARE, Drum.SIDE_STICK, Drum.CLAP, Drum.HIGH_TOM, Drum.MID_TOM, Drum.LOW_TOM, Drum.FLOOR_TOM),
    *(Drum.OPEN_HAT, Drum.RIDE_BELL, Drum.RIDE, Drum.CLOSED_HAT),
)
"""What a drummer keeps when a third hand would be needed; anything else comes after these."""
_RANK = {drum: rank for rank, drum in enumerate(_FIRST)}
_PALE = 0.03
"""Of full level: softer is not played."""


class Page:
    """Hits written so far: one per drum and beat, the louder wins. Beats are straight grid positions."""

    def __init__(self, groove: Groove) -> None:
        self._groove = groove
        self._hits: dict[tuple[float, int], float] = {}

    def hit(self, beat: float, drum: int, level: float) -> None:
        """`level` is 0 to 1 of the hardest hit; what is below a whisper is left out."""
        if level > _PALE:
            place = (on_tick(beat), drum)
            self._hits[place] = max(self._hits.get(place, 0.0), level)

    def clear(self, start: float, end: float, keep: Iterable[int] = ()) -> None:
        """Rub out ``start <= beat < end`` but for the drums to `keep`."""
        kept = set(keep)
        for place in [p for p in self._hits if start - 1e-6 <= p[0] < end - 1e-6 and p[1] not in kept]:
            del self._hits[place]

    def has(self, beat: float, *drums: int) -> bool:
        return any((on_tick(beat), drum) in self._hits for drum in drums)

    def notes(self) -> list[Note]:
        """As two hands and two feet can play them, in the groove's swing."""
        at: dict[float, dict[int, float]] = defaultdict(dict)
        for (beat, drum), level in self._hits.items():
            beat = self._groove.swung(beat)
            at[beat][drum] = max(at[beat].get(drum, 0.0), level)
        notes = []
        for beat, drums in at.items():
            hands = sorted(drums.keys() - FEET, key=lambda drum: (_RANK.get(drum, len(_FIRST)), drum))
            for drum in (*hands[:2], *(drums.keys() & FEET)):
                velocity = min(127, max(1, round(127 * drums[drum])))
                notes.append(Note(beat, _LENGTH, drum, velocity, beat))
        return notes


def loudness(planned: BarGroove) -> float:
    """The level of a plain hit in this bar, 0.42 in the quietest music to 0.86 in the loudest."""
    return 0.42 + 0.44 * planned.energy
