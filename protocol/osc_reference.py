"""docs/osc.md, written from the address table, so that the page and the daemon cannot disagree.

``python -m protocol.osc_reference > docs/osc.md`` writes it; a test compares the two.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

from protocol import PROTOCOL_VERSION
from protocol.address_space import DEFAULT_TTL_S, GROUPS, INCOMING, MAX_TTL_S, OUTGOING, PREFIX
from protocol.address_types import Address, Arg, Kind, Tail
from protocol.reaper_osc import NATIVE
from protocol.task import SETTINGS

_INTRO = f"""# OSC reference

This page is generated from the daemon's own address table (`python -m protocol.osc_reference > docs/osc.md`).
Protocol version {PROTOCOL_VERSION}.

## Port, types, precision
- UDP, port 9240 on 127.0.0.1 unless configured otherwise. `stembridge serve --osc-port 0` picks a free port; zeroconf
  (`_osc._udp`) tells which.
- All addresses begin with `{PREFIX}`. Address patterns (`*`, `?`, `[]`, `{{}}`, `//`) are refused.
- Number arguments may be `i`, `h`, `f` or `d`; NaN and infinity are refused. Where 0 or 1 is meant, `T` and `F` serve
  as well. Send times and tempos as doubles (`d`) if you can. A 32-bit float is read as the shortest decimal that rounds
  to it, so 120.37 sent as `f` is 120.37; but at ten minutes such a float is off by up to 1.5 samples at 48 kHz.
- Where nothing is needed, a lone `I` or `N` does as well: a button of an OSCQuery client.
- Times are seconds of project time. Bar 1 begins at 0 s. A beat is a quarter note.
- Bundles are read. A time tag up to 60 s ahead is kept, and a verb works on the session as it is when its time comes;
  one further ahead is refused (`bad_timetag`).
- Limits: 48 KiB a packet, bundles four deep, 64 elements in a bundle, 1024 arguments.

## Controllers on the network
Off unless `[lan]` in the configuration names interfaces to listen on. A sender elsewhere is served once it has sent
`{PREFIX}/pair PIN` from its address, and until it is unpaired; `stembridge pair` shows the PIN. To anyone else nothing
is sent, not even an error. Programs on the daemon's own machine need no PIN.

## Answers
Every request to `{PREFIX}` is answered to its sender, from the port it was sent to, by `{PREFIX}/ack` or by
`{PREFIX}/error CODE SENTENCE ADDRESS [ID]`. Match on the code; the sentence is for people. The sender of a verb hears
that job's events without subscribing. Only the types `i`, `f` and `s` are sent, unless a client subscribed with `types
full`: then numbers come as `d` and large whole numbers as `h`.

## Subscriptions
`{PREFIX}/subscribe` sends all events to the sender for {DEFAULT_TTL_S:g} s, or for `ttl` seconds up to {MAX_TTL_S:g};
subscribe again before the time is up to go on. The fields of the session that are known follow at once.
"""

_TITLES = {
    "client": ("Client", ""),
    "session": (
        "Session: what the DAW tells",
        "What is told last counts. A verb works on the session as it was when the verb came.",
    ),
    "verbs": (
        "Verbs: what to make",
        "Arguments are name-value pairs. Every setting (below) is an option as well, for this once; so are "
        "`reference` (a file in an opened project whose sound the new music shall have), `id` (an id of your choice; "
        "the same id sent again is the same job, and what has happened to it is told again) and `priority` (0 to 10; "
        "higher overtakes).",
    ),
    "jobs": ("Jobs", ""),
    "live": (
        "Live extension",
        "One run at a time. Arguments are name-value pairs, every setting among them; docs/live.md explains the rest.",
    ),
}
_EVERY_VERB = ("reference", "id", "priority")

_EXAMPLES = f"""## Examples
```
stembridge send {PREFIX}/ping
stembridge send {PREFIX}/project ~/Music/Song/Song.rpp 48000
stembridge send {PREFIX}/source mix.wav 0.0
stembridge send {PREFIX}/tempo 97.53
stembridge send {PREFIX}/key "F# minor"
stembridge send {PREFIX}/region/bars 17 4
stembridge send {PREFIX}/set/prompt "brushed drums, upright bass"
stembridge send --wait 120 {PREFIX}/repaint variations 2 seed 7
stembridge send --wait 120 {PREFIX}/extend bars 8
stembridge send {PREFIX}/cancel last
stembridge send {PREFIX}/session
```
"""


_ONLY_SANE = 1e6
"""Limits from here on keep nonsense out; nobody needs to read them."""


def render() -> str:
    """The whole page, Markdown, with a newline at its end."""
    sections = [_INTRO, *(_section(group) for group in _TITLES), _settings(), _events(), _reaper(), _EXAMPLES]
    return "\n".join(sections)


def _section(group: str) -> str:
    title, text = _TITLES[group]
    rows = [_row(INCOMING[f"{PREFIX}/{row.path}"]) for row in GROUPS[group]]
    table = _table(("address", "arguments", "meaning", "answer, beside the ack"), rows)
    return _titled(title, text, table)


def _row(address: Address) -> tuple[str, str, str, str]:
    meaning = address.meaning + (f" ({address.notes})" if address.notes else "")
    options = [f"`{arg.name}`: {_explained(arg)}" for arg in address.options if arg.name not in _EVERY_VERB]
    if options:
        meaning += ". Options: " + "; ".join(options)
    details = [f"`{arg.name}`: {_explained(arg)}" for arg in address.args if _explained(arg)]
    if details:
        meaning += ". " + "; ".join(details)
    return f"`{address.path}`", _signature(address), meaning, address.answer


def _signature(address: Address) -> str:
    names = " ".join(f"[{arg.name}]" if arg.optional else arg.name for arg in address.args)
    match address.tail:
        case Tail.REPEATED:
            return f"({names.replace('[', '').replace(']', '')})*"
        case Tail.OPTIONS:
            return f"{names} [name value]*".strip()
        case Tail.ANYTHING:
            return f"{names} ..." if address.path.endswith("pong") else "[anything]*"
        case _:
            return names


def _explained(arg: Arg) -> str:
    """Meaning and range of an argument, as far as they say more than its name."""
    has_range = arg.high is not None and arg.high < _ONLY_SANE
    allowed = arg.allowed if has_range or arg.choices else ""
    return ", ".join(part for part in (arg.meaning, allowed) if part)


def _settings() -> str:
    text = (
        f"`{PREFIX}/set/NAME value` holds for all later verbs; an empty string takes it back. As an option of a verb a "
        "setting holds for that verb alone."
    )
    rows = [
        (f"`{spec.name}`", spec.meaning, spec.allowed, "" if spec.default in (None, "") else f"`{spec.default}`")
        for spec in SETTINGS.values()
    ]
    return _titled("Settings", text, _table(("name", "meaning", "allowed", "default"), rows))


_TYPES = {Kind.TEXT: "s", Kind.INTEGER: "i", Kind.NUMBER: "f", Kind.BIG: "s", Kind.ANY: ""}


def _events() -> str:
    def typed(address: Address) -> str:
        names = [f"{arg.name}({_TYPES[arg.kind]})" for arg in address.args]
        shown = [f"[{name}]" if arg.optional else name for name, arg in zip(names, address.args, strict=True)]
        return " ".join(shown) + (" ..." if address.tail is Tail.ANYTHING else "")

    rows = [(f"`{path}`", typed(address), _row(address)[2]) for path, address in OUTGOING.items()]
    return _titled("What the daemon sends", "", _table(("address", "arguments", "meaning"), rows))


def _reaper() -> str:
    text = (
        "REAPER's own OSC surface may send to the same port, with no script running. These addresses enter the "
        "session; the others of its default pattern file are ignored. None is ever answered. Loop points and tempo "
        "come as 32-bit floats: an exact value told before stays if the float can stand for it, and a loop point that "
        "lies on a count of the tempo map is taken as exactly that. Loop points are the time selection only while "
        "REAPER links the two (Options: Loop points linked to time selection)."
    )
    rows = [(f"`{native.path}`", native.argument, native.meaning) for native in NATIVE.values()]
    return _titled("REAPER's own addresses", text, _table(("address", "argument", "meaning"), rows))


def _titled(title: str, text: str, table: str) -> str:
    return "\n".join([f"## {title}", *([text, ""] if text else []), table])


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def lines() -> Iterator[str]:
        yield "| " + " | ".join(heads) + " |"
        yield "|" + "---|" * len(heads)
        for row in rows:
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"

    return "\n".join(lines()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
