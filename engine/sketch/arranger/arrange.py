"""Which instruments play, and their parts: one seeded writer per track class, all on one groove.

Promise: a part depends on the lead sheet, the style and the seed alone, never on which other parts were asked for; so
a stem can be made again without its companions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from numpy.random import Generator

from engine.api import IsCancelled
from engine.sketch.analysis import check
from engine.sketch.arranger.bass import write_bass
from engine.sketch.arranger.drums import write_drums
from engine.sketch.arranger.effects import write_effects
from engine.sketch.arranger.groove import Groove, plan_groove
from engine.sketch.arranger.guitar import write_guitar
from engine.sketch.arranger.keyboard import write_keyboard
from engine.sketch.arranger.melody import write_brass, write_woodwinds
from engine.sketch.arranger.percussion import write_percussion
from engine.sketch.arranger.sustained import write_strings, write_synth
from engine.sketch.chance import chance_for
from engine.sketch.lead_sheet import LeadSheet
from engine.sketch.score import Part
from engine.sketch.style import Style
from protocol.vocabulary import TrackClass

Writer = Callable[[LeadSheet, Style, Groove, Generator], Part]

WRITERS: Mapping[TrackClass, Writer] = {
    TrackClass.DRUMS: write_drums,
    TrackClass.PERCUSSION: write_percussion,
    TrackClass.BASS: write_bass,
    TrackClass.KEYBOARD: write_keyboard,
    TrackClass.GUITAR: write_guitar,
    TrackClass.STRINGS: write_strings,
    TrackClass.SYNTH: write_synth,
    TrackClass.BRASS: write_brass,
    TrackClass.WOODWINDS: write_woodwinds,
    TrackClass.FX: write_effects,
}


def arrange(
    sheet: LeadSheet,
    style: Style,
    tracks: Sequence[TrackClass],
    seed: int,
    cancelled: IsCancelled = lambda: False,
) -> list[Part]:
    """One part per track, over the sheet's span. Raises `Cancelled`."""
    groove = plan_groove(sheet, style, chance_for(seed, "groove"))
    parts = []
    for track in tracks:
        check(cancelled)
        part = WRITERS[track](sheet, style, groove, chance_for(seed, track.value))
        parts.append(part.clipped(sheet.start, sheet.end))
    return parts
