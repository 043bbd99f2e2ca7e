"""What any listener can say of a part beside its lead sheet: right notes, changes met, nothing left hanging."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from engine.harmony import Chord, ChordSpan
from engine.sketch.arranger.groove import Groove, plan_groove
from engine.sketch.arranger.meter import cells
from engine.sketch.lead_sheet import LeadSheet
from engine.sketch.score import PPQ, Instrument, Note, Part
from engine.sketch.style import Beat, Feel, Style
from tests.support.sheets import sheet, sheets

Writer = Callable[[LeadSheet, Style, Groove, np.random.Generator], Part]

JUST_AFTER = 0.002
"""Beats: more than a tick's rounding."""


def styles() -> st.SearchStrategy[Style]:
    """Whatever words can say."""
    return st.builds(
        Style,
        beat=st.none() | st.sampled_from(Beat),
        feel=st.none() | st.sampled_from(Feel),
        instruments=st.lists(st.sampled_from(Instrument), max_size=2).map(tuple),
        without=st.frozensets(st.sampled_from(Instrument), max_size=3),
        density=st.sampled_from((-1.0, -0.4, 0.0, 0.4, 1.0)),
        intensity=st.sampled_from((-1.0, 0.0, 1.0)),
        legato=st.none() | st.booleans(),
    )


@st.composite
def odd_sheets(draw: st.DrawFn) -> LeadSheet:
    """Sheets as ears write them: regions from mid-bar, chords that change anywhere, several to the bar."""
    plain = draw(sheets())
    start = plain.start + draw(st.sampled_from((0.0, 0.0, 0.37, 1.0)))
    end = max(start + 0.5, plain.end - draw(st.sampled_from((0.0, 0.21))))
    if draw(st.booleans()):
        return LeadSheet(plain.tempo_map, plain.key, start, end, plain.chords, plain.sections, plain.energy)
    names = [span.chord for span in plain.chords]
    spans, at = [], plain.start
    while at < plain.end:
        until = min(plain.end, at + draw(st.sampled_from((0.1, 0.25, 0.5, 1.0, 1.5, 4.0))))
        chord = names[draw(st.integers(0, len(names) - 1))]
        spans.append(ChordSpan(at, until, chord))
        at = until
    sections, energy, accents = plain.sections, plain.energy, plain.accents
    return LeadSheet(plain.tempo_map, plain.key, start, end, tuple(spans), sections, energy, accents, swing=plain.swing)


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def written(write: Writer, of: LeadSheet, style: Style | None = None, seed: int = 0) -> tuple[Part, Groove]:
    """A part and the groove it was written on."""
    style = style or Style()
    groove = plan_groove(of, style, generator(seed))
    return write(of, style, groove, generator(seed + 1)), groove


def played(write: Writer, seed: int = 0, style: Style | None = None, **changes: object) -> tuple[Part, LeadSheet]:
    """A part over `sheets.sheet` with `changes`."""
    of = sheet(**changes)  # type: ignore[arg-type]
    return written(write, of, style, seed)[0], of


def chord_of(note: Note, of: LeadSheet, groove: Groove) -> Chord | None:
    """The lasting chord where `note` is written, changes swung like everything else."""
    spans = lasting(of)
    at = sum(groove.swung(span.start) <= note.written + JUST_AFTER for span in spans) - 1
    return spans[max(0, at)].chord if spans else None


def is_right(note: Note, of: LeadSheet, groove: Groove) -> bool:
    """True if the note is in the chord where it is written, or in the key's scale."""
    chord = chord_of(note, of, groove)
    return note.pitch % 12 in of.key.scale or (chord is not None and note.pitch % 12 in chord.pitch_classes)


def clashes(part: Part, of: LeadSheet, groove: Groove) -> list[Note]:
    """Notes that begin on a strong count a semitone from a tone of the chord, not being one."""
    strong = {round(cell.start * PPQ) for bar in of.bars for cell in cells(bar)}
    found = []
    for note in part.notes:
        chord = chord_of(note, of, groove)
        if chord is None or round(note.written * PPQ) not in strong or note.pitch % 12 in chord.pitch_classes:
            continue
        if any((note.pitch - tone) % 12 in (1, 11) for tone in chord.pitch_classes):
            found.append(note)
    return found


def lasting(of: LeadSheet) -> list[ChordSpan]:
    """The chords that last: what a player takes for a chord, equal neighbours as one."""
    spans: list[ChordSpan] = []
    for span in of.chords:
        if span.end - span.start <= 0.2 or (spans and spans[-1].chord == span.chord):
            continue
        spans.append(span)
    return spans


def unheard(part: Part, of: LeadSheet, groove: Groove) -> list[ChordSpan]:
    """The changes after the first on which no note is written."""
    starts = {round(note.written * PPQ) for note in part.notes}
    changes = [span for span in lasting(of)[1:] if span.start < of.bars[-1].end - 0.02]
    return [span for span in changes if not starts & {round(groove.swung(span.start) * PPQ) + k for k in (-1, 0, 1)}]


def hanging(part: Part, of: LeadSheet, groove: Groove) -> list[Note]:
    """Notes that sound on by more than 40 ms into a chord that lacks them."""
    spans = lasting(of)
    starts = [groove.swung(span.start) for span in spans]
    found = []
    for note in part.notes:
        late = 0.04 * of.tempo_map.bpm_at(of.tempo_map.time_at(note.end)) / 60.0
        for start, span in zip(starts[1:], spans[1:], strict=True):
            tones = span.chord.pitch_classes if span.chord else (of.key.pitch_class, (of.key.pitch_class + 7) % 12)
            if note.written < start - JUST_AFTER and note.end > start + late and note.pitch % 12 not in tones:
                found.append(note)
    return found


def assert_playable(part: Part, of: LeadSheet) -> None:
    """Notes on ticks, in order, none struck while it sounds, inside the bars."""
    for note in part.notes:
        assert abs(note.beat * PPQ - round(note.beat * PPQ)) < 1e-6
        assert abs(note.beats * PPQ - round(note.beats * PPQ)) < 1e-6
        assert note.beats > 0
        assert 1 <= note.velocity <= 127
        assert of.bars[0].start - 0.2 <= note.beat < of.bars[-1].end
    assert list(part.notes) == sorted(part.notes, key=lambda note: (note.beat, note.pitch, note.beats, note.velocity))
    for pitch in {note.pitch for note in part.notes}:
        of_pitch = [note for note in part.notes if note.pitch == pitch]
        assert all(before.end <= after.beat + 0.05 for before, after in pairwise(of_pitch)), pitch


def chords_struck(part: Part) -> list[list[Note]]:
    """The notes written together, in order."""
    found: dict[int, list[Note]] = {}
    for note in sorted(part.notes, key=lambda note: note.written):
        found.setdefault(round(note.written * PPQ), []).append(note)
    return list(found.values())


def as_written(part: Part) -> list[tuple[float, int]]:
    """What a score shows: places and pitches."""
    return sorted((note.written, note.pitch) for note in part.notes)


def times_s(notes: Sequence[Note], of: LeadSheet) -> list[tuple[float, float]]:
    """When each note begins and ends, in seconds."""
    return [(of.tempo_map.time_at(note.beat), of.tempo_map.time_at(note.end)) for note in notes]
