"""The rows of live extension in the table of OSC addresses (protocol/address_space.py)."""

from __future__ import annotations

from protocol.address_types import Address, Arg, Kind, Tail
from protocol.live import MAX_LEAD_BARS, MAX_PHRASE_BARS, LiveOut

_TEXT, _WHOLE, _NUMBER = Kind.TEXT, Kind.INTEGER, Kind.NUMBER

_ON_THE_WAY = (
    Arg("phrase_bars", _WHOLE, "bars of a phrase (4 unless told)", 1, MAX_PHRASE_BARS),
    Arg("lead_bars", _WHOLE, "bars kept ready past the playhead (4 unless told)", 1, MAX_LEAD_BARS),
    Arg("context_bars", _WHOLE, "bars before it that each phrase hears (8 unless told)", 1, MAX_LEAD_BARS),
)
_START = (
    Arg("file", _TEXT, "a file in an opened project to go on from, instead of the session's source"),
    Arg("at", _NUMBER, "project time at which that file begins, 0 unless told", -1e6, 1e6, unit="time.second"),
    Arg(
        "join",
        _NUMBER,
        "project time at which the new music begins; not told: the bar line where the source ends",
        unit="time.second",
    ),
    Arg("input", _TEXT, "an audio input to go on from, instead of a file: part of its name, or default"),
    Arg("out", _TEXT, "where the music goes (files unless told)", choices=tuple(LiveOut)),
    Arg("device", _TEXT, "the audio output: part of its name"),
    Arg(
        "offset_ms",
        _NUMBER,
        "what is played sounds so much earlier, to make up for an interface",
        -500,
        500,
        unit="time.ms",
    ),
    Arg("clock", _TEXT, "daw: the DAW's transport; internal: our own", choices=("daw", "internal")),
    Arg("id", _TEXT, "an id of your choice for the run"),
)

LIVE_IN = (
    Address(
        "live/start",
        "keep the source extended, ahead of the playhead",
        tail=Tail.OPTIONS,
        options=(*_START, *_ON_THE_WAY),
        settings=True,
        answer="the run's events",
    ),
    Address(
        "live/toggle",
        "end the run that is on, else start one: for a pedal",
        tail=Tail.OPTIONS,
        options=(*_START, *_ON_THE_WAY),
        settings=True,
        answer="the run's events",
    ),
    Address(
        "live/set",
        "change settings on the way: they hold from the next phrase on",
        tail=Tail.OPTIONS,
        options=_ON_THE_WAY,
        settings=True,
    ),
    Address("live/stop", "end the run; what is made stays"),
    Address("live/panic", "silence at once, and the run ends"),
    Address("live/status", "where the run stands", answer="live/state, live/audio, then the ack"),
)

_RUN = Arg("run", _TEXT, "the run's id")

LIVE_OUT = (
    Address(
        "live/state",
        "where a run stands: at every change, and twice a second while it runs",
        (
            _RUN,
            Arg("state", _TEXT, "waiting, running or ended"),
            Arg("bar", _WHOLE, "the bar at the playhead"),
            Arg("lead_bars", _NUMBER, "bars that are ready past the playhead"),
            Arg("lead_s", _NUMBER, "the same in seconds", unit="time.second"),
            Arg("phrases", _WHOLE, "made and placed"),
            Arg("loops", _WHOLE, "places that had to be filled with a loop"),
            Arg("failed", _WHOLE, "phrases that failed"),
            Arg("quality", _WHOLE, "step of quality in use, 0: the best"),
            Arg("sentence", _TEXT, "what a person should know; may be empty"),
        ),
    ),
    Address(
        "live/phrase",
        "a place on the bar lines was filled",
        (
            _RUN,
            Arg("number", _WHOLE, "of the place, from 1"),
            Arg("filling", _TEXT, "phrase or loop"),
            Arg("bar", _WHOLE, "the bar that begins there"),
            Arg("start_s", _NUMBER, "project time", unit="time.second"),
            Arg("frames", Kind.BIG, "length in samples", unit="time.samples"),
            Arg("sample_rate", _WHOLE, "Hz", unit="time.hz"),
            Arg("file", _TEXT, "what sounds there from its start; a loop may be longer or shorter than the file"),
            Arg("job", _TEXT, "the job that made it; empty: the source itself"),
        ),
    ),
    Address(
        "live/audio",
        "how the audio out does, twice a second while it plays",
        (
            _RUN,
            Arg("phase_ms", _NUMBER, "how far what sounds is from the clock", unit="time.ms"),
            Arg("xruns", _WHOLE, "blocks that the audio system lost"),
            Arg("underruns", _WHOLE, "blocks with nothing to play"),
        ),
    ),
)
