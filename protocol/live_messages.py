"""Live runs as OSC messages: the name of an outgoing address and its values (the table: protocol/address_live.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from protocol.live import LiveStatus, PlacedPhrase

Message = tuple[str, Sequence[object]]
"""The name of an outgoing address (``job/state``) and its values."""


def status_messages(status: LiveStatus) -> list[Message]:
    """``live/state``, and ``live/audio`` for a run that plays."""
    counts = status.counts
    made = (counts.phrases, counts.loops, counts.failed, status.quality)
    state = (status.run, status.state, status.bar, status.lead_bars, status.lead_s, *made, status.sentence)
    messages: list[Message] = [("live/state", state)]
    if status.plays:
        phase_ms = 0.0 if math.isnan(status.phase_s) else 1000.0 * status.phase_s
        messages.append(("live/audio", (status.run, phase_ms, counts.xruns, counts.underruns)))
    return messages


def placed_message(placed: PlacedPhrase) -> Message:
    """``live/phrase``."""
    slot = placed.slot
    where = (slot.number, placed.filling, slot.bar, placed.start_s, placed.frames, placed.sample_rate)
    return "live/phrase", (placed.run, *where, placed.file, placed.job)
