"""Musical keys: every common spelling in, one canonical form out (``F# minor``).

DAWs, controllers, key finders and musicians all write keys differently; the model wants ``{Note}{Accidental} {Mode}``.

Spelling is kept: B flat major stays ``Bb major``, since a musician who wrote it means it. Only *theoretical* keys, with
more than seven sharps or flats and so not on the circle of fifths, are respelled to the enharmonic key that is on it:
``Gb minor`` is ``F# minor``, ``D# major`` is ``Eb major``, ``Fb major`` is ``E major``. So there are exactly 30 keys.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from protocol.errors import BadArgument

Mode = Literal["major", "minor"]

_FIFTHS = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}
"""Place of each natural on the line of fifths; a sharp adds seven, a flat takes seven away."""

_NATURAL_AT = {place: letter for letter, place in _FIFTHS.items()}
_RELATIVE_MINOR = 3  # a minor key has the signature of the major key three fifths below its own tonic
_MOST_ACCIDENTALS = 7
_STEPS = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}

_SHARPS = ("#", "♯", "sharp", "is")
_FLATS = ("b", "♭", "flat", "es")
_MINOR_WORDS = ("m", "mi", "min", "minor", "mol", "moll", "aeolian")
_MAJOR_WORDS = ("m", "ma", "maj", "major", "dur", "ionian")
_GERMAN_WORDS = ("dur", "mol", "moll")
_GAP = r"[\s_:.\-\u2010-\u2015\u2212]*"
_LONGEST = 40


def _alternatives(*words: str) -> str:
    return "|".join(sorted(map(re.escape, set(words)), key=len, reverse=True))


# The lone s of the German Es and As counts for these two letters only.
_SPELLING = re.compile(
    rf"(?P<note>[A-H])(?:{_GAP}(?P<sign>{_alternatives(*_SHARPS, *_FLATS, '♮', 'natural')}|(?<=[EA])s))?"
    rf"(?:{_GAP}(?P<mode>{_alternatives(*_MINOR_WORDS, *_MAJOR_WORDS)}))?",
    re.IGNORECASE | re.ASCII,
)
_CAMELOT = re.compile(r"0?(?P<hour>[1-9]|1[0-2])\s?(?P<side>[AB])", re.IGNORECASE | re.ASCII)


def _place(tonic: str) -> int:
    """A tonic's place on the line of fifths (C is 0, G 1, F -1, F# 6)."""
    return _FIFTHS[tonic[0]] + 7 * (tonic[1:].count("#") - tonic[1:].count("b"))


def _tonic_at(place: int) -> str:
    octave, offset = divmod(place + 1, 7)  # -1 (F) to 5 (B) are the naturals
    return _NATURAL_AT[offset - 1] + ("#" * octave if octave >= 0 else "b" * -octave)


@dataclass(frozen=True)
class Key:
    """A key on the circle of fifths: `tonic` such as ``C``, ``F#``, ``Bb``; `mode` ``major`` or ``minor``.

    Raises `BadArgument` for anything else; `Key.parse` is the lenient way in.
    """

    tonic: str
    mode: Mode

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-G][#b]?", self.tonic) or self.mode not in _STEPS:
            raise BadArgument(f"A key is a note A to G, with # or b or neither, and major or minor, not {self!r}.")
        if abs(self.signature) > _MOST_ACCIDENTALS:
            raise BadArgument(f"{self} has more than seven accidentals: write {_respelled(self.tonic, self.mode)}.")

    @classmethod
    def parse(cls, text: str) -> Key:
        """The key that `text` names; raises `BadArgument` if it names none.

        Understood, in any case and with spaces, dashes, underscores, dots or colons between the parts:

        * ``F# minor``, ``F#m``, ``f# min``, ``F#:min``, ``f sharp minor``, ``F♯ minor``, ``B♭``, ``Bbmaj``, ``BbM``;
          a note alone is major, and of the single letters ``m`` is minor, ``M`` major: ``Am`` is not ``AM``.
        * German: ``fis-moll``, ``Es-Dur``, ``H``, ``Hm``; beside ``dur`` or ``moll`` a bare B is B flat, as in German.
        * the Camelot wheel of DJ programs: ``8A`` (A minor), ``08b`` (C major).

        Theoretical keys are respelled (see the module).
        """
        if not isinstance(text, str) or len(text) > _LONGEST:
            raise _unknown(text)
        plain = unicodedata.normalize("NFKC", text).strip()
        if wheel := _CAMELOT.fullmatch(plain):
            return _from_camelot(int(wheel["hour"]), wheel["side"].upper())
        spelling = _SPELLING.fullmatch(plain)
        if not spelling:
            raise _unknown(text)
        return _respelled(_tonic(spelling), _mode(spelling["mode"]))

    @classmethod
    def from_pitch_class(cls, pitch_class: int, mode: Mode) -> Key:
        """The key on a pitch class (C is 0, modulo 12) in its simplest spelling; F# over Gb, D# over Eb minor."""
        on_it = [key for key in all_keys() if key.mode == mode and key.pitch_class == pitch_class % 12]
        return min(on_it, key=lambda key: (abs(key.signature), -key.signature))

    def __str__(self) -> str:
        return f"{self.tonic} {self.mode}"

    @property
    def signature(self) -> int:
        """Accidentals of the key signature: sharps positive, flats negative."""
        return _place(self.tonic) - (_RELATIVE_MINOR if self.mode == "minor" else 0)

    @property
    def pitch_class(self) -> int:
        """Semitones of the tonic above C, 0 to 11."""
        return _place(self.tonic) * 7 % 12

    @property
    def scale(self) -> tuple[int, ...]:
        """The seven pitch classes of the major or natural minor scale, from the tonic upwards."""
        return tuple((self.pitch_class + step) % 12 for step in _STEPS[self.mode])


def all_keys() -> tuple[Key, ...]:
    """The 30 keys of the circle of fifths: majors from seven flats to seven sharps, then their relative minors."""
    signatures = range(-_MOST_ACCIDENTALS, _MOST_ACCIDENTALS + 1)
    majors = tuple(Key(_tonic_at(place), "major") for place in signatures)
    minors = tuple(Key(_tonic_at(place + _RELATIVE_MINOR), "minor") for place in signatures)
    return majors + minors


def _respelled(tonic: str, mode: Mode) -> Key:
    """The key itself if it is on the circle of fifths, else its enharmonic equivalent (twelve fifths away)."""
    shift = _RELATIVE_MINOR if mode == "minor" else 0
    signature = _place(tonic) - shift
    if signature > _MOST_ACCIDENTALS:
        signature -= 12
    elif signature < -_MOST_ACCIDENTALS:
        signature += 12
    return Key(_tonic_at(signature + shift), mode)


def _from_camelot(hour: int, side: str) -> Key:
    # Hour 8 has no accidentals; each hour is a fifth. The remainder is taken so that six sharps stay sharps.
    signature = (hour - 8 + 5) % 12 - 5
    return Key(_tonic_at(signature), "major") if side == "B" else Key(_tonic_at(signature + _RELATIVE_MINOR), "minor")


def _tonic(spelling: re.Match[str]) -> str:
    letter, sign = spelling["note"].upper(), (spelling["sign"] or "").lower()
    if letter == "H":
        letter = "B"
    elif letter == "B" and not sign and (spelling["mode"] or "").lower() in _GERMAN_WORDS:
        return "Bb"
    if sign in _SHARPS:
        return f"{letter}#"
    return f"{letter}b" if sign in (*_FLATS, "s") else letter


def _mode(word: str | None) -> Mode:
    if not word or word == "M":
        return "major"
    return "minor" if word.lower() in _MINOR_WORDS else "major"


def _unknown(text: object) -> BadArgument:
    given = f"{text[:_LONGEST]!r}" if isinstance(text, str) else f"a {type(text).__name__}"
    return BadArgument(f"The key {given} is not known: write it like 'F# minor', 'Bb', 'Am' or '8A'.")
