"""What MIDI means to the daemon, with a real session: whose clock counts where several tick."""

from __future__ import annotations

from pathlib import Path

from bridge.config import Config
from bridge.core import Core
from bridge.midi_side import MidiSide
from engine.api import Capabilities
from engine.audio import probe
from protocol.vocabulary import Verb
from tests.support.queues import running

TICK_S = 60.0 / 100.0 / 24
START, CLOCK = b"\xfa", b"\xf8"


async def test_a_keyboard_that_ticks_all_day_does_not_stop_the_daw_that_plays(tmp_path: Path) -> None:
    async with running(tmp_path, start=False) as bench:
        offer = Capabilities("test", "1", frozenset(Verb))
        core = Core(queue=bench.queue, engine_name="test", capabilities=lambda _: offer, probe=probe)
        now = 100.0
        side = MidiSide(Config(), core, lambda work: work.close(), clock=lambda: now)
        side.door._deliver("DAW", START, now)
        for _ in range(97):
            now += TICK_S
            side.door._deliver("DAW", CLOCK, now)
            side.door._deliver("Keys", CLOCK, now)
        for port in ("DAW", "Keys"):
            side._hear_clock(f"midi:{port}", side.door._ports[port].clock.reading(now))
        playing = core.session.playing
        assert playing is not None
        assert (playing.value, playing.source) == (True, "midi:DAW")
