"""Chords as values: names in, pitch classes out, and both common spellings back.

The chord vocabulary is small on purpose: what can be told apart by ear in a mix, and what an arranger writes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from protocol.errors import BadArgument

_NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_SHARP_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_FLAT_NAMES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")


class Quality(StrEnum):
    """What stands on a root. The values are those of Harte's chord syntax (Harte et al., ISMIR 2005)."""

    MAJOR = "maj"
    MINOR = "min"
    DIMINISHED = "dim"
    AUGMENTED = "aug"
    SUSPENDED_SECOND = "sus2"
    SUSPENDED = "sus4"
    DOMINANT = "7"
    MAJOR_SEVENTH = "maj7"
    MINOR_SEVENTH = "min7"
    HALF_DIMINISHED = "hdim7"

    @property
    def intervals(self) -> tuple[int, ...]:
        """Semitones above the root, rising from 0."""
        return _INTERVALS[self]

    @property
    def suffix(self) -> str:
        """What musicians write after the root: ``m7``, ``maj7``, nothing for major."""
        return _SUFFIXES[self]


_INTERVALS = {
    Quality.MAJOR: (0, 4, 7),
    Quality.MINOR: (0, 3, 7),
    Quality.DIMINISHED: (0, 3, 6),
    Quality.AUGMENTED: (0, 4, 8),
    Quality.SUSPENDED_SECOND: (0, 2, 7),
    Quality.SUSPENDED: (0, 5, 7),
    Quality.DOMINANT: (0, 4, 7, 10),
    Quality.MAJOR_SEVENTH: (0, 4, 7, 11),
    Quality.MINOR_SEVENTH: (0, 3, 7, 10),
    Quality.HALF_DIMINISHED: (0, 3, 6, 10),
}
_SUFFIXES = {
    Quality.MAJOR: "",
    Quality.MINOR: "m",
    Quality.DIMINISHED: "dim",
    Quality.AUGMENTED: "aug",
    Quality.SUSPENDED_SECOND: "sus2",
    Quality.SUSPENDED: "sus4",
    Quality.DOMINANT: "7",
    Quality.MAJOR_SEVENTH: "maj7",
    Quality.MINOR_SEVENTH: "m7",
    Quality.HALF_DIMINISHED: "m7b5",
}
_BY_SUFFIX = {suffix: quality for quality, suffix in _SUFFIXES.items()}
_NAME = re.compile(r"([A-G])([#b]?)(maj7|m7b5|m7|m|dim|aug|sus2|sus4|7)?")


@dataclass(frozen=True)
class Chord:
    """A root (pitch class, C is 0) and what stands on it."""

    root: int
    quality: Quality = Quality.MAJOR

    def __post_init__(self) -> None:
        if not 0 <= self.root <= 11:
            raise BadArgument(f"A chord's root is a pitch class from 0 to 11, not {self.root}.")

    @classmethod
    def parse(cls, name: str) -> Chord:
        """The chord of a name such as ``Am7``, ``F#``, ``Bbmaj7``. Raises `BadArgument` for any other text."""
        found = _NAME.fullmatch(name)
        if not found:
            raise BadArgument(f"The chord {name[:40]!r} is not known: write it like C, Am7, F#dim or Bbmaj7.")
        letter, sign, suffix = found.groups()
        return cls((_NATURALS[letter] + {"": 0, "#": 1, "b": -1}[sign]) % 12, _BY_SUFFIX[suffix or ""])

    @property
    def pitch_classes(self) -> tuple[int, ...]:
        """The root first."""
        return tuple((self.root + interval) % 12 for interval in self.quality.intervals)

    @property
    def label(self) -> str:
        """In Harte's syntax, as mir_eval reads it: ``A:min7``."""
        return f"{_SHARP_NAMES[self.root]}:{self.quality.value}"

    def name(self, *, flats: bool = False) -> str:
        """As musicians write it: ``Bbm7`` (or ``A#m7``)."""
        return (_FLAT_NAMES if flats else _SHARP_NAMES)[self.root] + self.quality.suffix

    def transposed(self, semitones: int) -> Chord:
        return Chord((self.root + semitones) % 12, self.quality)

    def __str__(self) -> str:
        return self.name()


@dataclass(frozen=True)
class ChordSpan:
    """`chord` sounds from beat `start` to beat `end` (quarter notes since project time 0); None: no chord is heard."""

    start: float
    end: float
    chord: Chord | None
