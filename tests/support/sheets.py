"""Lead sheets for the arranger's tests, written as a musician would say them; no audio needed.

``sheet("Am F C,G E7", bars=8, bpm=92, meter="3/4", key="A minor", sections="A4 B4")``: one chord per bar, a comma
splits a bar evenly, ``%`` holds the chord before, ``-`` is no chord; the words are repeated over the bars.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

import numpy as np
from hypothesis import strategies as st

from engine.harmony import Chord, ChordSpan
from engine.sketch.lead_sheet import Accents, Bar, LeadSheet, SongSection
from engine.sketch.score import Drum, Note, Part
from protocol.key import Key
from protocol.music import TempoMap, TempoPoint, TimeSignature


def signature(text: str) -> TimeSignature:
    """``7/8``."""
    numerator, denominator = text.split("/")
    return TimeSignature(int(numerator), int(denominator))


def tempo_map_of(bpm: float | Sequence[float], meter: str) -> TempoMap:
    """One tempo and meter, or a changing meter (``4/4*4 3/4*2 4/4``), or linear ramps between tempos every 4 bars."""
    if isinstance(bpm, Sequence):
        seconds, points = 0.0, []
        length = 4 * signature(meter).beats_per_bar
        for now, then in zip(bpm, [*bpm[1:], bpm[-1]], strict=True):
            points.append(TempoPoint(seconds, now, signature(meter), linear=now != then))
            seconds += length * 120.0 / (now + then)
        return TempoMap(tuple(points))
    seconds, points = 0.0, []
    for word in meter.split():
        text, _, count = word.partition("*")
        points.append(TempoPoint(seconds, bpm, signature(text)))
        seconds += float(count or 1) * signature(text).beats_per_bar * 60.0 / bpm
    return TempoMap(tuple(points))


def sheet(
    chords: str = "Am F C G",
    bars: int = 8,
    bpm: float | Sequence[float] = 120.0,
    meter: str = "4/4",
    key: str = "A minor",
    sections: str = "",
    accents: tuple[str, str, str] | None = None,
    energy: Sequence[float] = (),
    swing: float = 0.5,
    first_bar: int = 1,
    tempo_map: TempoMap | None = None,
) -> LeadSheet:
    """A lead sheet of `bars` bars from `first_bar` on.

    `sections` is ``A4 B4`` (label, bars); `accents` gives kick, middle and cymbals as sixteenths of a bar
    (``x`` strong, ``o`` half, ``.`` nothing), repeated over the bars.
    """
    tempo_map = tempo_map or tempo_map_of(bpm, meter)
    lines = [tempo_map.beat_at(tempo_map.bar_start(first_bar + k)) for k in range(bars + 1)]
    bare = LeadSheet(tempo_map, Key.parse(key), lines[0], lines[-1], _spans(chords, lines), _sections(sections, lines))
    return LeadSheet(
        bare.tempo_map,
        bare.key,
        bare.start,
        bare.end,
        bare.chords,
        bare.sections,
        tuple(energy) or (0.6,) * bars,
        accents_of(bare.bars, *accents) if accents else None,
        swing=swing,
    )


def _spans(text: str, lines: Sequence[float]) -> tuple[ChordSpan, ...]:
    spans: list[ChordSpan] = []
    for word, start, end in zip(islice(cycle(text.split()), len(lines) - 1), lines, lines[1:], strict=False):
        names = word.split(",")
        for index, name in enumerate(names):
            begin = start + (end - start) * index / len(names)
            stop = start + (end - start) * (index + 1) / len(names)
            held = spans[-1].chord if spans else None
            chord = held if name == "%" else None if name == "-" else Chord.parse(name)
            if spans and chord == held:
                spans[-1] = ChordSpan(spans[-1].start, stop, chord)
            else:
                spans.append(ChordSpan(begin, stop, chord))
    return tuple(spans)


def _sections(text: str, lines: Sequence[float]) -> tuple[SongSection, ...]:
    if not text:
        return (SongSection(lines[0], lines[-1], "A"),)
    sections, bar = [], 0
    for word in text.split():
        after = min(bar + int(word[1:]), len(lines) - 1)
        sections.append(SongSection(lines[bar], lines[after], word[0]))
        bar = after
    assert bar == len(lines) - 1, "the sections must fill the bars"
    return tuple(sections)


def accents_of(bars: Sequence[Bar], low: str, middle: str, high: str) -> Accents:
    """Accents at the sixteenths of `bars` from three patterns of one bar (see `sheet`)."""
    beats, strength = [], []
    value = {"x": 1.0, "o": 0.5, ".": 0.0}
    for bar in bars:
        for step in range(round(bar.beats * 4)):
            beats.append(bar.start + step / 4)
            strength.append([value[pattern[step % len(pattern)]] for pattern in (low, middle, high)])
    return Accents(np.array(beats), np.array(strength))


_DRUM_NAMES = {value: name.lower().replace("_", " ") for name, value in vars(Drum).items() if isinstance(value, int)}
_DRUM_NAMES |= {36: "kick", 37: "side stick", 38: "snare", 39: "clap"}
_NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def as_grid(part: Part, of: LeadSheet, steps_per_beat: int = 4) -> str:
    """The part as text, one row per pitch, one column per step: 1 to 9 is the velocity, ``-`` a note that goes on."""
    rows = {}
    drums = part.instrument.is_kit
    for note in part.notes:
        row = rows.setdefault(note.pitch, {})
        step = round((note.written - of.bars[0].start) * steps_per_beat)
        length = 1 if drums else max(1, round(note.beats * steps_per_beat))
        for more in range(1, length):
            row.setdefault(step + more, "-")
        row[step] = str(min(9, max(1, round(note.velocity / 13))))
    lines = []
    for pitch in sorted(rows, reverse=True):
        name = _DRUM_NAMES.get(pitch, str(pitch)) if drums else f"{_NOTES[pitch % 12]}{pitch // 12 - 1}"
        cells = []
        for bar in of.bars:
            first = round((bar.start - of.bars[0].start) * steps_per_beat)
            cells.append("".join(rows[pitch].get(first + k, ".") for k in range(round(bar.beats * steps_per_beat))))
        lines.append(f"{name:>12} |" + "|".join(cells) + "|")
    return "\n".join(lines)


def notes_between(part: Part, start: float, end: float) -> list[Note]:
    """The notes written in ``start <= beat < end``."""
    return [note for note in part.notes if start - 1e-6 <= note.written < end - 1e-6]


METERS = ("4/4", "3/4", "2/4", "6/8", "12/8", "9/8", "5/4", "7/8", "2/2", "4/4*2 3/4*3 7/8*1 6/8*2")
PROGRESSIONS = ("Am F C G", "Dm7 G7 Cmaj7 Cmaj7", "C,Am F,G Em,% -", "Bdim Esus4 Am Caug", "-")


@st.composite
def sheets(draw: st.DrawFn) -> LeadSheet:
    """Any sheet a band may get: meters, changing meters, tempi, ramps, sections, accents or none."""
    meter = draw(st.sampled_from(METERS))
    bars = draw(st.integers(1, 9))
    ramp = draw(st.booleans()) and "*" not in meter
    bpm: float | list[float] = [90.0, 140.5, 120.0] if ramp else draw(st.floats(30.0, 260.0))
    split = draw(st.integers(0, bars - 1))
    pattern = st.text("x.o", min_size=16, max_size=16)
    return sheet(
        draw(st.sampled_from(PROGRESSIONS)),
        bars,
        bpm,
        meter,
        draw(st.sampled_from(("A minor", "C major", "F# major", "Eb minor"))),
        f"A{split} B{bars - split}" if split else "",
        draw(st.none() | st.tuples(pattern, pattern, pattern)),
        draw(st.lists(st.floats(0.0, 1.0), min_size=bars, max_size=bars)),
        draw(st.sampled_from((0.5, 0.6, 0.667))),
        draw(st.integers(-2, 5)),
    )
