"""What a Song Position Pointer means: a hint that has to be believed with care. Pure.

MIDI says that the pointer counts sixteenths (six clock ticks), 0 to 16383. Some senders (Ardour 7.3) send clock ticks
instead, six times as much. The rule that tells them apart needs no knowledge of who sends: between two pointers the
sender's position advanced by what was counted in ticks, unless it was moved. So a pointer that advanced by one
per six ticks speaks for sixteenths, by one per tick for ticks; anything else is a locate and says nothing. A Start is a
pointer of 0.
"""

from __future__ import annotations

LIMIT = 1 << 14
"""Pointers have 14 bits: past 16383 (1024 bars of 4/4) senders wrap round, or stay there."""

SIXTEENTH_TICKS = 6


class PointerUnit:
    """Learns in which unit a sender's Song Position Pointers count. Sixteenths until the contrary was seen."""

    def __init__(self) -> None:
        self._reference: tuple[int, int] | None = None  # a pointer, and the ticks counted when it came
        self._evidence = 0  # for sixteenths if positive, for ticks if negative

    @property
    def ticks(self) -> int:
        """Clock ticks per unit of the pointer."""
        return 1 if self._evidence < 0 else SIXTEENTH_TICKS

    @property
    def proven(self) -> bool:
        """One agreement is enough for what the standard says, two for the other."""
        return self._evidence >= 1 or self._evidence <= -2

    def start(self, counted: int) -> None:
        """A Start: position 0 when `counted` ticks have been counted in all."""
        self._reference = (0, counted)

    def heard(self, pointer: int, counted: int) -> None:
        """A pointer, and the ticks counted in all (those of a playing transport) when it came."""
        if pointer == LIMIT - 1:
            return
        if self._reference is not None:
            advanced, ticks = (pointer - self._reference[0]) % LIMIT, counted - self._reference[1]
            as_sixteenths = agrees(advanced, ticks, SIXTEENTH_TICKS)
            as_ticks = agrees(advanced, ticks, 1)
            if as_sixteenths and not as_ticks:
                self._evidence = min(3, self._evidence + 1)
            elif as_ticks and not as_sixteenths:
                self._evidence = max(-3, self._evidence - 1)
        self._reference = (pointer, counted)

    def place(self, pointer: int, counted_place: int) -> tuple[int, bool]:
        """The place that the pointer means, in ticks from the song's start, and whether that is the counted place.

        A pointer that agrees with the counted place has wrapped round as often as that one; any other is a locate.
        """
        place = pointer * self.ticks
        if not agrees(pointer, counted_place, self.ticks):
            return place, False
        turn = LIMIT * self.ticks
        return place + round((counted_place - place) / turn) * turn, True


def agrees(pointer: int, ticks: int, unit: int) -> bool:
    """True if a pointer counted in `unit` ticks says the position `ticks`, to one sixteenth, modulo its limit."""
    turn = LIMIT * unit
    off = (pointer * unit - ticks) % turn
    return min(off, turn - off) <= SIXTEENTH_TICKS
