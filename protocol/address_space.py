"""ONE table of OSC addresses. Dispatch, the check of arguments, what is sent and docs/osc.md all come from it.

`parse` turns an address and its arguments into a `Command` of checked values or refuses them with a sentence that says
what was given and what is allowed. What the values mean together (is that a key? do these regions overlap?) is judged
where they are used.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from protocol.address_lan import LAN_IN, LAN_OUT
from protocol.address_live import LIVE_IN, LIVE_OUT
from protocol.address_types import Address, Arg, Command, Kind, Tail, shown
from protocol.errors import BadArgument, UnknownAddress
from protocol.job import LIVE_PRIORITY, NORMAL_PRIORITY
from protocol.music import MAX_BPM, MAX_RATE, MIN_BPM
from protocol.session import MAX_BARS, MAX_FRAMES
from protocol.task import SETTINGS
from protocol.vocabulary import TrackClass, Verb

PREFIX: Final = "/stembridge"
MAX_TIME_S: Final = 1e6
"""Project times beyond this (eleven days) are refused."""

DEFAULT_TTL_S, MAX_TTL_S = 60.0, 600.0
DEFAULT_JOBS, MAX_JOBS = 20, 200

# --- the table: what comes in -----------------------------------------------------------------------------------------
_TEXT, _INTEGER = Kind.TEXT, Kind.INTEGER


def _time(name: str, meaning: str = "", optional: bool = False) -> Arg:
    return Arg(name, Kind.NUMBER, meaning or "seconds", -MAX_TIME_S, MAX_TIME_S, optional=optional, unit="time.second")


def _frame(name: str) -> Arg:
    return Arg(name, Kind.BIG, "samples", -MAX_FRAMES, MAX_FRAMES, unit="time.samples")


_NUMERATOR = Arg("numerator", _INTEGER, "counts per bar", 1, 64)
_DENOMINATOR = Arg("denominator", _INTEGER, "note value of a count: 1, 2, 4, 8, 16, 32 or 64", 1, 64)
_BPM = Arg("bpm", Kind.NUMBER, "quarter notes per minute", MIN_BPM, MAX_BPM, unit="time.bpm")
_TRIGGER = Arg("pressed", Kind.FLAG, "0, a button let go, says nothing", optional=True)
_JOB = Arg("id", _TEXT, "the job's id")

_EAR = Arg("port", _INTEGER, "the sender's port that events go to, if it listens on another one", 1, 65535)

_CLIENT = (
    Address("ping", "are you there?", (Arg("anything", Kind.ANY),), Tail.ANYTHING, answer="pong"),
    Address(
        "subscribe",
        "send all events to this sender until the time is up; subscribe again to go on",
        tail=Tail.OPTIONS,
        options=(
            Arg("types", _TEXT, "argument types of what is sent", choices=("basic", "full")),
            Arg("ttl", Kind.NUMBER, f"seconds, {DEFAULT_TTL_S:g} unless told", 1, MAX_TTL_S, unit="time.second"),
            _EAR,
        ),
        answer="after the ack one session/state per known field",
    ),
    Address("unsubscribe", "no more events to this sender", tail=Tail.OPTIONS, options=(_EAR,)),
    *LAN_IN,
)

_SESSION = (
    Address(
        "project",
        "open a project; stems go under it",
        (
            Arg("folder", _TEXT, "the project's folder or .rpp file"),
            Arg("sample_rate", _INTEGER, "Hz; not told: the source's", 1000, MAX_RATE, optional=True, unit="time.hz"),
        ),
    ),
    Address(
        "source",
        "the audio to work on",
        (
            Arg("file", _TEXT, "a file in an opened project"),
            _time("start_s", "project time at which the file begins, 0 unless told", True),
        ),
    ),
    Address("tempo", "a constant tempo", (_BPM,), notes="replaces a tempo map and keeps its first time signature"),
    Address(
        "tempo/map",
        "the tempo map, one group per point, in order of time",
        (
            _time("time_s"),
            _BPM,
            _NUMERATOR,
            _DENOMINATOR,
            Arg("shape", _INTEGER, "0: step, 1: linear to the next point", 0, 1),
        ),
        Tail.REPEATED,
        notes="replaces the tempo and time signature told before",
    ),
    Address("timesig", "the time signature, throughout", (_NUMERATOR, _DENOMINATOR)),
    Address("key", "the key in any common spelling", (Arg("key", _TEXT, "F#m, B♭ major, ...; empty: unknown"),)),
    Address("region", "the selected span", (_time("start_s"), _time("end_s"))),
    Address("region/samples", "the selected span, in samples of the project's rate", (_frame("start"), _frame("end"))),
    Address(
        "region/bars",
        "the selected span, in whole bars; bar 1 begins at 0 s",
        (
            Arg("first_bar", _INTEGER, "", -MAX_BARS, MAX_BARS),
            Arg("count", _INTEGER, "bars", 1, MAX_BARS),
        ),
    ),
    Address(
        "regions",
        "several spans for the next verbs; without arguments: no region",
        (_time("start_s", optional=True), _time("end_s", optional=True)),
        Tail.REPEATED,
    ),
    Address("position", "the play or edit cursor", (_time("time_s"),)),
    Address("play", "the transport runs", (_TRIGGER,)),
    Address("stop", "the transport stands", (_TRIGGER,)),
    Address("session", "what is known", answer="one session/state per known field, then the ack"),
)

_REFERENCE = Arg("reference", _TEXT, "a file in an opened project whose sound the new music shall have")
_ID = Arg("id", _TEXT, "an id of your choice; the same id sent again is the same job")
_PRIORITY = Arg("priority", _INTEGER, "higher overtakes", NORMAL_PRIORITY, LIVE_PRIORITY)
_LENGTH = (
    Arg("bars", Kind.NUMBER, "how many bars (4 unless told)", 0, 512, above=True),
    Arg("seconds", Kind.NUMBER, "how long, instead of bars", 0, 600, above=True, unit="time.second"),
    _time("at", "where it joins, in seconds; not told: the edge of the region or source"),
)
_TRACKS = Arg("tracks", _TEXT, "track classes, comma-separated: " + ", ".join(TrackClass))
_TRACK = Arg("track", _TEXT, "the track class, as for complete")

_VERB_MEANING: Mapping[Verb, tuple[str, tuple[Arg, ...]]] = {
    Verb.REPAINT: ("make the region anew from what surrounds it", ()),
    Verb.EXTEND: ("go on after the region or the source", _LENGTH),
    Verb.PREPEND: ("lead into the region or the source", _LENGTH),
    Verb.COMPLETE: ("add the missing instruments over the same span", (_TRACKS, _TRACK)),
    Verb.LEGO: ("add one instrument over the same span", (_TRACK, _TRACKS)),
    Verb.EXTRACT: ("take one instrument out of the mix", (_TRACK, _TRACKS)),
    Verb.COVER: ("the same music in another style", ()),
    Verb.GENERATE: ("new music from a prompt", ()),
}

_OF_EVERY_VERB = (_REFERENCE, _ID, _PRIORITY)
_VERBS = tuple(
    Address(verb, meaning, (), Tail.OPTIONS, (*options, *_OF_EVERY_VERB), settings=True, answer="the job's events")
    for verb, (meaning, options) in _VERB_MEANING.items()
)

_JOBS = (
    Address("cancel", "end a job", (Arg("id", _TEXT, "the job's id, all or last (yours)"),)),
    Address(
        "retry",
        "queue a failed or cancelled job again; of any other, tell again what has happened",
        (_JOB,),
        answer="the job's events",
    ),
    Address(
        "jobs",
        "the newest jobs",
        (Arg("count", _INTEGER, f"how many, {DEFAULT_JOBS} unless told", 1, MAX_JOBS, optional=True),),
        answer="one job/state per job, newest first, then the ack",
    ),
)

_SET = tuple(
    Address(
        f"set/{spec.name}",
        spec.meaning,
        (Arg("value", Kind.ANY, f"{spec.allowed}; empty: unset"),),
    )
    for spec in SETTINGS.values()
)

# --- the table: what goes out -----------------------------------------------------------------------------------------
_FRACTION = Arg("fraction", Kind.NUMBER, "0 to 1")
_OUT = (
    Address(
        "ack",
        "your request was taken",
        (
            Arg("id", _TEXT, "the job's id; for other requests: the address, and nothing more"),
            Arg("verb", _TEXT, optional=True),
            Arg("engine", _TEXT, optional=True),
            Arg("position", _INTEGER, "place in the queue, 0: running", optional=True),
        ),
    ),
    Address(
        "error",
        "your request was refused, or its job failed",
        (
            Arg("code", _TEXT, "stable, for programs"),
            Arg("sentence", _TEXT, "for people"),
            Arg("address", _TEXT, "what was refused"),
            Arg("id", _TEXT, "the job", optional=True),
        ),
    ),
    Address(
        "pong",
        "the answer to ping",
        (Arg("version", _TEXT), Arg("engine", _TEXT), Arg("protocol", _INTEGER)),
        Tail.ANYTHING,
        notes="then what came with the ping",
    ),
    Address(
        "job/state",
        "a job changed its state",
        (_JOB, Arg("state", _TEXT, "queued, running, done, failed or cancelled"), Arg("verb", _TEXT)),
    ),
    Address(
        "job/progress",
        "how far a running job is, at most ten a second",
        (_JOB, _FRACTION, Arg("seconds_left", Kind.NUMBER, "-1: unknown", unit="time.second")),
    ),
    Address(
        "job/take",
        "a take lies whole in the project folder",
        (
            _JOB,
            Arg("take", _INTEGER, "from 1"),
            Arg("file", _TEXT),
            Arg("start_s", Kind.NUMBER, "project time; the manifest has it exactly", unit="time.second"),
            Arg("frames", Kind.BIG, "length in samples", unit="time.samples"),
            Arg("sample_rate", _INTEGER, "Hz", unit="time.hz"),
            Arg("score", Kind.NUMBER, "0 to 100"),
        ),
    ),
    Address("job/done", "all takes are there", (_JOB, Arg("takes", _INTEGER), Arg("manifest", _TEXT, "its file"))),
    Address(
        "session/state",
        "one field of the session",
        (
            Arg("name", _TEXT, "as its address: tempo, region, set/prompt, ..."),
            Arg("value", _TEXT, "numbers in full precision; empty: unknown"),
            Arg("source", _TEXT, "who told it"),
            Arg("age_s", Kind.NUMBER, "seconds since then", unit="time.second"),
        ),
    ),
    *LIVE_OUT,
    *LAN_OUT,
)


def _grouped(group: str, rows: Sequence[Address]) -> dict[str, Address]:
    whole = (replace(row, path=f"{PREFIX}/{row.path}", group=group) for row in rows)
    return {address.path: address for address in whole}


GROUPS = {"client": _CLIENT, "session": _SESSION, "settings": _SET, "verbs": _VERBS, "jobs": _JOBS, "live": LIVE_IN}

INCOMING: Mapping[str, Address] = MappingProxyType(
    {path: address for group, rows in GROUPS.items() for path, address in _grouped(group, rows).items()}
)
"""Every address the daemon understands, by its complete path (REAPER's own are in protocol/reaper_osc.py)."""

_NAMES = tuple(path.removeprefix(f"{PREFIX}/") for path in INCOMING)

OUTGOING: Mapping[str, Address] = MappingProxyType(_grouped("events", _OUT))
"""Every address the daemon sends."""


# --- reading ----------------------------------------------------------------------------------------------------------
def parse(path: str, args: Sequence[object]) -> Command:
    """The command that a message means.

    Raises `UnknownAddress` naming the nearest addresses, `BadArgument` naming the argument, its value and what is
    allowed.
    """
    address = INCOMING.get(path)
    if address is None:
        raise UnknownAddress(_unknown(path[:200]))
    if address.tail is Tail.ANYTHING:
        return Command(address, tuple(args))
    if address.tail is Tail.REPEATED:
        return Command(address, _repeated(address, args))
    if not address.args and len(args) == 1 and args[0] in (None, math.inf):
        args = ()  # `N` or `I`, which have no value: a button, as OSCQuery's clients send it
    values, rest = _leading(address, args)
    if address.tail is Tail.OPTIONS:
        return Command(address, values, _options(address, rest))
    if rest:
        raise BadArgument(f"{path} takes {_wanted(address)}; {len(args)} arguments came.")
    return Command(address, values)


def _leading(address: Address, args: Sequence[object]) -> tuple[tuple[Any, ...], Sequence[object]]:
    """The fixed arguments, and what is left."""
    needed = sum(not arg.optional for arg in address.args)
    if len(args) < needed:
        raise BadArgument(f"{address.path} takes {_wanted(address)}; {len(args)} came.")
    values = tuple(_value(address, arg, value) for arg, value in zip(address.args, args, strict=False))
    return values, args[len(values) :]


def _repeated(address: Address, args: Sequence[object]) -> tuple[Any, ...]:
    size = len(address.args)
    if len(args) % size or (not args and not address.args[0].optional):
        names = ", ".join(arg.name for arg in address.args)
        raise BadArgument(f"{address.path} takes groups of {size} arguments ({names}); {len(args)} came.")
    return tuple(_value(address, address.args[index % size], value) for index, value in enumerate(args))


def _options(address: Address, args: Sequence[object]) -> Mapping[str, Any]:
    """Name-value pairs. Task settings are passed on as they came: the task's validator names all problems at once."""
    if len(args) % 2:
        raise BadArgument(f"{address.path} takes name-value pairs; the last of {len(args)} arguments has no partner.")
    own = {arg.name: arg for arg in address.options}
    options: dict[str, Any] = {}
    for name, value in zip(args[::2], args[1::2], strict=True):
        if not isinstance(name, str) or not (name in own or (address.settings and name in SETTINGS)):
            known = [*own, *SETTINGS] if address.settings else list(own)
            raise BadArgument(f"{address.path} has no option {shown(name)}; it has {', '.join(known)}.")
        if name in options:
            raise BadArgument(f"{address.path} was given {name} twice.")
        options[name] = _value(address, own[name], value) if name in own else value
    return options


def _value(address: Address, arg: Arg, value: object) -> Any:
    checked = arg.checked(value)
    if checked is None and arg.kind is not Kind.ANY:
        raise BadArgument(f"{arg.name} of {address.path} is {shown(value)}; it must be {arg.allowed}.")
    return checked


def _wanted(address: Address) -> str:
    if not address.args:
        return "no arguments"
    names = ", ".join(f"[{arg.name}]" if arg.optional else arg.name for arg in address.args)
    return f"{len(address.args)} argument{'s' * (len(address.args) > 1)} ({names})"


@lru_cache(maxsize=256)
def _unknown(path: str) -> str:
    # Compared without the prefix that all share: quicker, and nearer to what was meant.
    names = difflib.get_close_matches(path.removeprefix(f"{PREFIX}/"), _NAMES, n=3)
    near = " or ".join(f"{PREFIX}/{name}" for name in names)
    hint = f"did you mean {near}?" if near else "docs/osc.md lists the addresses there are."
    return f"There is no address {shown(path)}: {hint}"
