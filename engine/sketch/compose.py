"""A song that does not exist yet, as a lead sheet: key, form, chords and dynamics from a style, a seed and a length.

The band then plays it like any other lead sheet. Harmony is written in roman numerals of the key, in progressions that
are everyone's; the form follows the number of bars, and ends on the tonic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from numpy.random import Generator

from engine.harmony import Chord, ChordSpan, Quality
from engine.sketch.lead_sheet import Bar, LeadSheet, SongSection, bars_of
from engine.sketch.style import Beat, Feel, Style
from protocol.key import Key
from protocol.music import TempoMap, TimeSignature

DEFAULT_BPM: Mapping[Beat | None, float] = {
    None: 100.0,
    Beat.BACKBEAT: 108.0,
    Beat.FOUR_ON_THE_FLOOR: 124.0,
    Beat.HALF_TIME: 140.0,
    Beat.DOUBLE_TIME: 96.0,
    Beat.BREAKBEAT: 134.0,
    Beat.BOSSA: 132.0,
    Beat.TRAIN: 104.0,
    Beat.ONE_DROP: 76.0,
    Beat.SWING_RIDE: 138.0,
    Beat.WALTZ: 96.0,
    Beat.MARCH: 112.0,
    Beat.BALLAD: 72.0,
}
"""Tempo of a style for which nobody told one."""

SHUFFLE = 0.64
"""Where the second eighth falls in a swing feel: between a quintuplet's and a triplet's place."""

_DEGREES = {"i": 0, "ii": 1, "iii": 2, "iv": 3, "v": 4, "vi": 5, "vii": 6}
_NUMERAL = re.compile(r"(b|#)?([iv]+|[IV]+)(maj7|7|sus4|o|ø)?")

_MAJOR: Mapping[str, Sequence[str]] = {
    "A": ("I V vi IV", "I vi IV V", "I iii IV V", "I IV I V", "vi IV I V", "I ii IV I"),
    "B": ("IV V iii vi", "IV I V vi", "vi V IV V", "IV V I vi", "ii V I vi"),
    "C": ("ii IV vi V", "vi iii IV V", "bVII IV I V"),
}
_MINOR: Mapping[str, Sequence[str]] = {
    "A": ("i VI III VII", "i VII VI VII", "i iv VI V", "i VI iv V", "i III VII iv"),
    "B": ("VI VII i III", "III VII i VI", "iv VII III VI", "VI III VII i"),
    "C": ("iv i VI V", "VI VII iv V", "iv VII III V"),
}
_JAZZ_MAJOR: Mapping[str, Sequence[str]] = {
    "A": ("ii7 V7 Imaj7 vi7", "Imaj7 vi7 ii7 V7", "Imaj7 IVmaj7 iii7 vi7"),
    "B": ("IVmaj7 iii7 ii7 V7", "vi7 ii7 V7 Imaj7", "iii7 vi7 ii7 V7"),
    "C": ("IVmaj7 V7 iii7 vi7", "ii7 V7 ii7 V7"),
}
_JAZZ_MINOR: Mapping[str, Sequence[str]] = {
    "A": ("i7 iiø V7 i7", "i7 iv7 iiø V7", "i7 VImaj7 iiø V7"),
    "B": ("iv7 VII7 IIImaj7 VImaj7", "VImaj7 iiø V7 i7"),
    "C": ("iv7 i7 iiø V7", "VImaj7 VII7 i7 i7"),
}
_BLUES = "I7 IV7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7"
_SEVENTHS = frozenset({Beat.BOSSA, Beat.SWING_RIDE})
_ENERGY = {"intro": 0.35, "A": 0.55, "B": 0.85, "C": 0.6, "outro": 0.4}


def roman(numeral: str, key: Key) -> Chord:
    """The chord of a numeral such as ``vi``, ``V7``, ``bVII`` or ``iiø`` in a key.

    Degrees are those of the major or the natural minor scale; capitals are major, small letters minor.
    """
    found = _NUMERAL.fullmatch(numeral)
    if not found or found[2].lower() not in _DEGREES:
        raise ValueError(f"not a numeral: {numeral!r}")
    sign, degree, kind = found.groups()
    root = key.scale[_DEGREES[degree.lower()]] + {"b": -1, "#": 1, None: 0}[sign]
    is_major = degree.isupper()
    quality = {
        None: Quality.MAJOR if is_major else Quality.MINOR,
        "7": Quality.DOMINANT if is_major else Quality.MINOR_SEVENTH,
        "maj7": Quality.MAJOR_SEVENTH,
        "sus4": Quality.SUSPENDED,
        "o": Quality.DIMINISHED,
        "ø": Quality.HALF_DIMINISHED,
    }[kind]
    return Chord(root % 12, quality)


def tempo_for(style: Style, bpm: float | None, counts: int | None) -> TempoMap:
    """A constant tempo where no DAW has told one: as asked for, as the words say, else usual for the style.

    `counts` are the quarter notes (6: eighths) of a bar if somebody asked for them.
    """
    if counts is None:
        counts = 3 if style.beat is Beat.WALTZ else 4
    signature = TimeSignature(counts, 8 if counts == 6 else 4)
    return TempoMap.constant(bpm or style.bpm or DEFAULT_BPM[style.beat], signature)


def key_for(style: Style, told: Key | None, chance: Generator) -> Key:
    """The told key, else the one that the words name, else one drawn by the seed, major or minor as the words say."""
    tonic, minor = int(chance.integers(12)), bool(chance.random() < 0.5)
    if named := told or style.key:
        return named
    return Key.from_pitch_class(tonic, "minor" if (minor if style.minor is None else style.minor) else "major")


def compose(style: Style, key: Key, tempo_map: TempoMap, start: float, end: float, chance: Generator) -> LeadSheet:
    """The lead sheet of a new song from beat `start` to beat `end`."""
    bars = bars_of(tempo_map, start, end)
    plan = _form(len(bars))
    progressions = _progressions(style, key, chance)
    spans: list[ChordSpan] = []
    sections: list[SongSection] = []
    energy: list[float] = []
    first = 0
    for name, count in plan:
        mine = bars[first : first + count]
        label = {"intro": "A", "outro": "A"}.get(name, name)
        sections.append(SongSection(max(start, mine[0].start), min(end, mine[-1].end), name))
        chords = progressions[label]
        spans += _laid(chords, mine, start, end, key, ends=1 < first + count == len(bars))
        for index in range(len(mine)):  # every section builds a little towards its end
            energy.append(min(1.0, max(0.1, _ENERGY[name] + 0.1 * index / max(1, len(mine)) + 0.2 * style.intensity)))
        first += count
    # A bar line that lies on an edge, give or take a microbeat, is that edge.
    spans[0], sections[0] = replace(spans[0], start=start), replace(sections[0], start=start)
    spans[-1], sections[-1] = replace(spans[-1], end=end), replace(sections[-1], end=end)
    swing = SHUFFLE if style.feel is Feel.SWING else 0.5
    return LeadSheet(tempo_map, key, start, end, tuple(spans), tuple(sections), tuple(energy), swing=swing)


def _form(bars: int) -> list[tuple[str, int]]:
    """Sections and their lengths in bars, which sum to `bars`."""
    if bars < 12:
        return [("A", bars)]
    if bars <= 16:
        return [("A", 8), ("B", bars - 8)]
    plan, left = [("intro", 4)], bars - 4
    outro = 4 if left >= 20 else 0
    left -= outro
    names = ["A", "B", "A", "B", "C", "B"]
    index = 0
    while left > 0:
        name = names[index] if index < len(names) else ("A", "B")[index % 2]
        length = min(8, left)
        if left - length < 4:  # no section of three bars or fewer at the end
            length = left
        plan.append((name, length))
        left -= length
        index += 1
    return [*plan, ("outro", outro)] if outro else plan


def _progressions(style: Style, key: Key, chance: Generator) -> dict[str, tuple[Chord, ...]]:
    """One progression for each section label, the same wherever the label comes back."""
    minor = key.mode == "minor"
    if "blues" in style.words and not minor:
        return dict.fromkeys("ABC", tuple(roman(numeral, key) for numeral in _BLUES.split()))
    has_sevenths = style.beat in _SEVENTHS or bool({"jazz", "soul", "gospel", "lo-fi"} & set(style.words))
    tables = (_JAZZ_MINOR if minor else _JAZZ_MAJOR) if has_sevenths else (_MINOR if minor else _MAJOR)
    chosen: dict[str, tuple[Chord, ...]] = {}
    for label, choices in tables.items():
        numerals = choices[int(chance.integers(len(choices)))]
        chosen[label] = tuple(roman(numeral, key) for numeral in numerals.split())
    return chosen


def _laid(
    chords: Sequence[Chord], bars: Sequence[Bar], start: float, end: float, key: Key, *, ends: bool
) -> list[ChordSpan]:
    """A chord a bar, from the progression's start; the song's very last bar is the tonic."""
    spans = []
    for index, bar in enumerate(bars):
        chord = chords[index % len(chords)]
        if ends and index == len(bars) - 1:
            home = chords[0].quality if chords[0].root == key.pitch_class else None
            chord = Chord(key.pitch_class, home or (Quality.MINOR if key.mode == "minor" else Quality.MAJOR))
        spans.append(ChordSpan(max(start, bar.start), min(end, bar.end), chord))
    return spans
