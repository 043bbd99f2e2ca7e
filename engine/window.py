"""From a region of the project to the stretch of source audio that an engine works on.

Promises: a region that does not lie where its verb needs it, or surroundings without a signal, are refused before any
work, with both spans named in project seconds; frames that the source does not have are zeros and marked as such.
All positions are source frames at the project's rate, as engine/api.py defines them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from engine.api import Source, Window
from protocol.errors import MissingContext, RegionOutside, SourceSilent
from protocol.music import Region, TempoMap
from protocol.vocabulary import Verb

if TYPE_CHECKING:
    from engine.api import Audio

MIN_REGION_S = 0.010
"""Below this nothing musical fits between the two crossfades."""

CONTEXT_S = 10.0
"""Default context on each side. ACE-Step wants windows of 10 s or more, and the cost grows with it: 10 + 8 + 10 s take
a twelfth of a whole song's time. An embedded engine reads further from the source itself."""

MIN_CONTEXT_S = 1.0
"""Even with no bars of context, level and joins are judged by this much on each side."""

_ON_BAR_LINE = 1e-6
"""Quarter notes."""

SILENCE_PEAK = 10.0 ** (-80.0 / 20.0)
"""Peak below which there is no signal: -80 dBFS, under any microphone's noise."""


def check_region(
    verb: Verb, region: tuple[int, int], source: Source, *, start_s: float = 0.0, slack_frames: int = 0
) -> None:
    """Raise `RegionOutside` if `verb` cannot work on `region` (source frames) of `source`.

    `extend` must begin inside the source or just at its end, `prepend` must end inside it or just at its beginning (at
    least one frame of the original stays); all others must lie in it. `start_s` is the project time of source frame 0,
    for the sentence. `slack_frames` allows for positions that were rounded to samples separately.
    """
    first, after = region
    if after - first < MIN_REGION_S * source.rate:
        raise RegionOutside(
            f"The region {_span(region, source.rate, start_s)} is too short: select {MIN_REGION_S * 1000:g} ms or more."
        )
    problem = _misplacement(verb, region, source.frames, slack_frames)
    if problem:
        raise RegionOutside(
            f"The region {_span(region, source.rate, start_s)} {problem} the source {source.path.name}, which spans "
            f"{_span((0, source.frames), source.rate, start_s)}. {_REMEDY.get(verb, _REMEDY[Verb.REPAINT])}"
        )


_REMEDY = {
    Verb.EXTEND: "Let the region begin inside the source or exactly at its end, and after its first sample.",
    Verb.PREPEND: "Let the region end inside the source or exactly at its beginning, and before its last sample.",
    Verb.REPAINT: (
        "Select a region inside it, use extend or prepend to go past its ends, or send /stembridge/source with the "
        "project time at which the file really begins."
    ),
}


def _misplacement(verb: Verb, region: tuple[int, int], frames: int, slack: int) -> str | None:
    first, after = region
    if verb is Verb.EXTEND:
        return "does not begin where it could continue" if not 1 <= first <= frames + slack else None
    if verb is Verb.PREPEND:
        return "does not end where it could lead into" if not -slack <= after <= frames - 1 else None
    return "does not lie inside" if first < -slack or after > frames + slack else None


def context_frames(tempo_map: TempoMap, region: Region, rate: int, bars: float | None = None) -> tuple[int, int]:
    """How many frames of context to take before and after `region`.

    With `bars`: to the bar line (or the part of a bar) so many bars before the bar in which the region begins, and
    after the one in which it ends, by the tempo map; at least `MIN_CONTEXT_S`. Without: `CONTEXT_S` on each side.
    Engines that need more read it from the source.
    """
    if bars is None:
        return (round(CONTEXT_S * rate),) * 2
    first_bar, _ = tempo_map.bar_at(region.start_s)
    last_bar, into_last = tempo_map.bar_at(region.end_s)
    end_bar = last_bar + (1 if into_last > _ON_BAR_LINE else 0)
    before_s = region.start_s - tempo_map.bars_from(tempo_map.bar_start(first_bar), -bars)
    after_s = tempo_map.bars_from(tempo_map.bar_start(end_bar), bars) - region.end_s
    return math.ceil(max(MIN_CONTEXT_S, before_s) * rate), math.ceil(max(MIN_CONTEXT_S, after_s) * rate)


def make_window(source: Source, region: tuple[int, int], before: int, after: int) -> Window:
    """`region` with `before` and `after` frames around it; ``exists`` is the part of it that the source has.

    Raises what `source.read` raises.
    """
    start, stop = region[0] - before, region[1] + after
    first = min(max(start, 0), source.frames)
    last = max(first, min(stop, source.frames))
    audio = np.zeros((source.channels, stop - start), dtype=np.float32)
    audio[:, first - start : last - start] = source.read(first, last)
    return Window(audio, source.rate, start, region, (first, last))


def require_signal(verb: Verb, window: Window, *, start_s: float = 0.0) -> None:
    """Raise `SourceSilent` if what `verb` works from is silent (peak below -80 dBFS around any constant offset).

    Verbs that join the source work from the audio around the region (from the region itself if nothing is around it),
    the others from all of the window. Raises `MissingContext` if the window holds nothing of the source.
    """
    first, last = window.exists
    if first >= last:
        raise MissingContext("There is no audio at the region to work from. Select a region that meets the source.")
    before, after = (first, min(last, window.region[0])), (max(first, window.region[1]), last)
    around = [span for span in (before, after) if span[0] < span[1]]
    spans = around if verb.joins_source and around else [(first, last)]
    if any(_has_signal(window.audio[:, a - window.start : b - window.start]) for a, b in spans):
        return
    named = " and ".join(_span(span, window.rate, start_s) for span in spans)
    raise SourceSilent(
        f"The source is silent where the music should come from ({named}). Choose a region next to music, or check "
        "that the right file is set as source and not muted when it was rendered."
    )


def _has_signal(audio: Audio) -> bool:
    swing = audio.max(axis=1).astype(np.float64) - audio.min(axis=1)
    return bool((swing / 2.0 >= SILENCE_PEAK).any())


def _span(frames: tuple[int, int], rate: int, start_s: float) -> str:
    return f"{_seconds(start_s + frames[0] / rate)} to {_seconds(start_s + frames[1] / rate)}"


def _seconds(value: float) -> str:
    """To the millisecond, or finer where that would hide a sample."""
    text = f"{value:.6f}"
    return f"{text[:-3] if text.endswith('000') else text} s"
