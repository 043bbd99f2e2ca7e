"""`stembridge doctor`'s look at MIDI: the inputs that there are, and whether those that are configured can be heard."""

from __future__ import annotations

from bridge.doctor_check import Check
from bridge.doors.midi import look_once
from bridge.doors.midi_ports import NoMidi, input_names
from bridge.midi_config import MidiConfig

_WHAT_FOR = "MIDI is only needed for clock and pedals"


def check_midi(config: MidiConfig) -> Check:
    """With MIDI off, what could be heard; else whether each configured port is there. Ports are closed again."""
    if not config.wishes:
        return _check_offer()
    found = look_once(config)
    heard = [name for one in found for name in one.names]
    problems = [one.problem.rstrip(".") for one in found if one.problem]
    seen = [f"hears {', '.join(heard)}"] if heard else []
    if problems:
        advice = "Connect it, or correct `port` in [midi]; `stembridge midi ports` lists the inputs."
        return Check("MIDI", "warn", "; ".join(seen + problems), advice)
    learnt = [f"{len(config.learn)} learnt"] if config.learn else []
    return Check("MIDI", "ok", "; ".join(seen + learnt))


def _check_offer() -> Check:
    try:
        names = input_names()
    except NoMidi as error:
        return Check("MIDI", "ok", f"off ({_WHAT_FOR}). {error.sentence}")
    if not names:
        return Check("MIDI", "ok", f"off, and no input is connected ({_WHAT_FOR})")
    return Check("MIDI", "ok", f"off; inputs that could be heard by `port` in [midi]: {', '.join(names)}")
