"""The OSC address table as OSCQuery tells it to controllers: types, ranges, units and values of every address. Pure.

It promises: the tree is generated from `protocol.address_space` and nothing else; arrays have one item per type tag;
what a node declares as TYPE is what is sent for it. Numbers are declared and sent as ``f`` (VALUE has them in full
precision), because controllers built on JUCE, Chataigne among them, drop a message in which they find a ``d``.

Addresses are containers and methods at once where the table has both (``/stembridge/tempo``, ``.../tempo/map``). What
takes only name-value pairs, or nothing, is an impulse (``I``): a button. The pairs stand in OPTIONS, our own attribute.

Source: https://github.com/Vidvox/OSCQueryProposal
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from protocol.address_space import INCOMING, MAX_TIME_S, OUTGOING, PREFIX
from protocol.address_types import Address, Arg, Kind, Tail
from protocol.errors import StembridgeError
from protocol.float32 import as_single
from protocol.music import Region, TempoMap
from protocol.session import BarsRegion, Session
from protocol.task import SETTINGS
from protocol.task_fields import Choice, Number, Rule, Whole

Values = Sequence[Any]
ValueOf = Callable[[str], Values | None]
"""The values at an address now, without its optional last ones where they are not known; None: nothing is known."""

OPTIONAL_ATTRIBUTES: Final = ("ACCESS", "VALUE", "RANGE", "DESCRIPTION", "TAGS", "EXTENDED_TYPE", "UNIT", "OPTIONS")
ATTRIBUTES: Final = ("FULL_PATH", "CONTENTS", "TYPE", *OPTIONAL_ATTRIBUTES)
"""What may be asked for. HOST_INFO is the door's."""

_SET = f"{PREFIX}/set/"
_INT32 = range(-(2**31), 2**31)
_TAGS = {Kind.TEXT: "s", Kind.INTEGER: "i", Kind.BIG: "h", Kind.NUMBER: "f", Kind.FLAG: "i", Kind.ANY: "s"}
_IMPULSE = "I"


# --- the tree ---------------------------------------------------------------------------------------------------------
@dataclass
class Node:
    """One address: what the table says of it, and what lies under it."""

    path: str
    row: Address | None = None
    below: dict[str, Node] = field(default_factory=dict)

    @property
    def access(self) -> int:
        """0: only a container, 1: it can be read, 2: it can be sent to, 3: both."""
        if self.row is None:
            return 0
        if self.path in OUTGOING:
            return 1
        return 3 if self.path in _READERS or self.path.startswith(_SET) else 2


def find(path: str) -> Node | None:
    """The node at `path` (``/`` is the root), if there is one."""
    node: Node | None = _ROOT
    for name in path.strip("/").split("/") if path.strip("/") else ():
        node = node.below.get(name) if node is not None else None
    return node


def tree(value_of: ValueOf, node: Node | None = None) -> dict[str, Any]:
    """A node (the root unless told) and all below it, ready for JSON."""
    node = node or _ROOT
    shown = dict(_described(node.path))
    if node.access & 1 and (values := value_of(node.path)) is not None:
        shown |= {name: shown[name] * _groups(node.row, values) for name in ("TYPE", *_PER_ARGUMENT) if name in shown}
        shown["VALUE"] = [*map(_as_json, values), *[None] * (len(shown["TYPE"]) - len(values))]
    if node.below:
        shown["CONTENTS"] = {name: tree(value_of, child) for name, child in node.below.items()}
    return shown


def type_tags(path: str, values: Values | None = None) -> str:
    """The TYPE at `path`. Where arguments are repeated it depends on how many `values` there are."""
    tags: str = _described(path)["TYPE"]
    return tags if values is None else tags * _groups(INCOMING.get(path), values)


def typed(path: str, values: Values) -> list[tuple[str, Any]]:
    """OSC type tags and values of a message that tells what is at `path`."""
    return [(tag, _as_osc(tag, value)) for tag, value in zip(type_tags(path, values), values, strict=False)]


def _groups(row: Address | None, values: Values) -> int:
    return max(1, len(values) // len(row.args)) if row is not None and row.tail is Tail.REPEATED else 1


@cache
def _described(path: str) -> dict[str, Any]:
    """All that does not change."""
    node = find(path)
    assert node is not None
    shown: dict[str, Any] = {"FULL_PATH": node.path, "ACCESS": node.access}
    row = node.row
    if row is None:
        return shown | ({"DESCRIPTION": "Stembridge"} if path in ("/", PREFIX) else {})
    args = [arg for arg in row.args if _tag(row, arg)]
    shown |= {"DESCRIPTION": row.meaning, "TAGS": [row.group]}
    shown["TYPE"] = "".join(_tag(row, arg) for arg in args) or _IMPULSE
    for name, of_arg in _PER_ARGUMENT.items():
        items = [of_arg(row, arg) for arg in args]
        if any(item is not None for item in items):
            shown[name] = items
    options = list(_options(row))
    return shown | ({"OPTIONS": options} if options else {})


def _options(row: Address) -> Iterator[dict[str, Any]]:
    for arg in row.options:
        yield _option(arg.name, _TAGS[arg.kind], arg.meaning, _range(row, arg), arg.unit)
    for spec in SETTINGS.values() if row.settings else ():
        yield _option(spec.name, _rule_tag(spec.rule), spec.meaning, _rule_range(spec.rule), _rule_unit(spec.name))


def _option(name: str, tag: str, meaning: str, limits: object, unit: str | None) -> dict[str, Any]:
    shown = {"NAME": name, "TYPE": tag, "DESCRIPTION": meaning}
    return shown | {key: [item] for key, item in (("RANGE", limits), ("UNIT", unit or None)) if item is not None}


# --- one argument -----------------------------------------------------------------------------------------------------
def _rule_of(row: Address) -> Rule | None:
    return SETTINGS[row.path.removeprefix(_SET)].rule if row.path.startswith(_SET) else None


def _tag(row: Address, arg: Arg) -> str:
    rule = _rule_of(row)
    if rule is not None:
        return _rule_tag(rule)
    return "" if row.tail is Tail.ANYTHING and arg.kind is Kind.ANY else _TAGS[arg.kind]


def _range(row: Address, arg: Arg) -> dict[str, Any] | None:
    rule = _rule_of(row)
    if rule is not None:
        return _rule_range(rule)
    if arg.choices:
        return {"VALS": list(arg.choices)}
    if arg.kind is Kind.FLAG:
        return {"MIN": 0, "MAX": 1}
    # Limits that only keep nonsense out would make useless faders.
    if arg.low is None or arg.high is None or arg.high >= MAX_TIME_S:
        return None
    return _span(arg.low, arg.high, arg.kind is not Kind.NUMBER)


def _unit(row: Address, arg: Arg) -> str | None:
    return _rule_unit(row.path.removeprefix(_SET)) if row.path.startswith(_SET) else arg.unit or None


def _extended_type(row: Address, arg: Arg) -> str | None:
    return row.path.removeprefix(_SET) if row.path.startswith(_SET) else arg.name


_PER_ARGUMENT: Final = {"RANGE": _range, "UNIT": _unit, "EXTENDED_TYPE": _extended_type}
"""Attributes with one item per type tag."""


def _rule_tag(rule: Rule) -> str:
    if isinstance(rule, Number):
        return "f"
    if isinstance(rule, Whole):
        return "i"
    return "i" if isinstance(rule, Choice) and isinstance(rule.values[0], int) else "s"


def _rule_range(rule: Rule) -> dict[str, Any] | None:
    if isinstance(rule, Choice):
        return {"VALS": list(rule.values)}
    return _span(rule.low, rule.high, isinstance(rule, Whole)) if isinstance(rule, Whole | Number) else None


def _rule_unit(name: str) -> str | None:
    return {"bpm_hint": "time.bpm", "duration": "time.second"}.get(name)


def _span(low: float, high: float, whole: bool) -> dict[str, Any]:
    kind = int if whole else float
    return {"MIN": kind(low), "MAX": kind(high)}


def _as_json(value: object) -> object:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value if isinstance(value, int | str) or value is None else str(value)


def _as_osc(tag: str, value: Any) -> object:
    match tag:
        case "f":
            return as_single(float(value))
        case "i" | "h":
            return int(value)
        case _:
            return str(value)


# --- what the session knows -------------------------------------------------------------------------------------------
def value_in(session: Session, path: str) -> Values | None:
    """What the session says at an incoming address: the arguments of the message that would tell it.

    Of a setting that is unset, what holds then. None: nothing is known, or it cannot be said in these arguments.
    """
    if path.startswith(_SET):
        return _setting(session, path.removeprefix(_SET))
    reader = _READERS.get(path)
    if reader is None:
        return None
    try:
        return reader(session)
    except StembridgeError:  # a region in bars, and no tempo
        return None


def _setting(session: Session, name: str) -> Values | None:
    spec = SETTINGS[name]
    value = session.settings.get(name, spec.default)
    if value is None:
        return None
    if isinstance(value, Mapping):
        value = json.dumps(dict(value), ensure_ascii=False)
    return (value if isinstance(value, int | float) else str(value),)


def _project(session: Session) -> Values | None:
    if session.project is None:
        return None
    ref = session.project.value
    return (ref.folder,) if ref.sample_rate is None else (ref.folder, ref.sample_rate)


def _source(session: Session) -> Values | None:
    return (session.source.value.file, session.source.value.start_s) if session.source else None


def _tempo(session: Session) -> Values | None:
    """The tempo at the cursor: a map has more than one."""
    return (session.tempo_map()[0].bpm_at(_cursor_s(session)),) if session.tempo else None


def _tempo_map(session: Session) -> Values | None:
    if session.tempo is None:
        return None
    points = session.tempo_map()[0].points
    return [
        value
        for p in points
        for value in (p.time_s, p.bpm, p.signature.numerator, p.signature.denominator, int(p.linear))
    ]


def _timesig(session: Session) -> Values | None:
    if session.timesig is None and not (session.tempo and isinstance(session.tempo.value, TempoMap)):
        return None
    signature = session.tempo_map()[0].signature_at(_cursor_s(session))
    return signature.numerator, signature.denominator


def _cursor_s(session: Session) -> float:
    return session.position_s.value if session.position_s else 0.0


def _key(session: Session) -> Values | None:
    return (str(session.key.value or ""),) if session.key else None


def _regions(session: Session) -> Values | None:
    spans = session.resolve_regions(session.rate)
    return [edge for span in spans for edge in (span.start_s, span.end_s)] if session.regions else None


def _only_region(session: Session) -> Region | None:
    spans = session.resolve_regions(session.rate)
    return spans[0] if len(spans) == 1 else None


def _region(session: Session) -> Values | None:
    span = _only_region(session)
    return (span.start_s, span.end_s) if span else None


def _region_samples(session: Session) -> Values | None:
    span = _only_region(session)
    return span.frames(session.rate) if span and session.rate else None


def _region_bars(session: Session) -> Values | None:
    told = session.regions.value if session.regions else ()
    return (told[0].first, told[0].count) if len(told) == 1 and isinstance(told[0], BarsRegion) else None


def _position(session: Session) -> Values | None:
    return (session.position_s.value,) if session.position_s else None


def _play(session: Session) -> Values | None:
    return (int(session.playing.value),) if session.playing else None


_READERS: Final[Mapping[str, Callable[[Session], Values | None]]] = MappingProxyType(
    {
        f"{PREFIX}/{name}": reader
        for name, reader in {
            "project": _project,
            "source": _source,
            "tempo": _tempo,
            "tempo/map": _tempo_map,
            "timesig": _timesig,
            "key": _key,
            "region": _region,
            "region/samples": _region_samples,
            "region/bars": _region_bars,
            "regions": _regions,
            "position": _position,
            "play": _play,
        }.items()
    }
)


def _grown() -> Node:
    root = Node("/")
    for path, row in {**OUTGOING, **INCOMING}.items():
        node = root
        for name in path.strip("/").split("/"):
            child = f"{node.path.rstrip('/')}/{name}"
            node = node.below.setdefault(name, Node(child))
        node.row = row
    return root


_ROOT = _grown()
REPEATED: Final = tuple(path for path, row in INCOMING.items() if row.tail is Tail.REPEATED)
"""Addresses whose TYPE depends on what is known."""
