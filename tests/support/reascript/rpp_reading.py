"""A dumped project as two independent parsers read it: reaproj (over rpp) and rppxml (Cockos' own parser).

`read` gives the assertions' view and raises unless both parsers see the same words in the same places.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import reaproj  # type: ignore[import-untyped]
import rppxml

Word = str | int | float | bytes
Words = tuple[Word, ...]


@dataclass(frozen=True)
class Node:
    """A block: its tag and words, its lines (tuples of words) and inner blocks in order.

    reaproj leaves every word as text, rppxml makes numbers of those that are not quoted.
    """

    words: Words
    children: tuple[Node | Words, ...]

    @property
    def tag(self) -> str:
        return str(self.words[0])

    def lines(self, key: str) -> Iterator[tuple[Any, ...]]:
        """The words after `key` of every line with it."""
        for child in self.children:
            if isinstance(child, tuple) and child[0] == key:
                yield child[1:]

    def line(self, key: str) -> tuple[Any, ...]:
        """Errors: KeyError."""
        for found in self.lines(key):
            return found
        raise KeyError(f"no line {key} in <{self.tag}")

    def blocks(self, tag: str) -> Iterator[Node]:
        return (child for child in self.children if isinstance(child, Node) and child.tag == tag)

    def texts(self) -> Iterator[tuple[str, str]]:
        """The lines of a block that holds keys and strings."""
        for child in self.children:
            assert isinstance(child, tuple), f"a block in <{self.tag}"
            key, value = child
            assert isinstance(key, str), f"{key!r} in <{self.tag}"
            assert isinstance(value, str), f"{value!r} in <{self.tag}"
            yield key, value

    def pairs(self, tag: str) -> dict[str, str]:
        """Keys and values of a block such as <EXT."""
        return {key: value for block in self.blocks(tag) for key, value in block.texts()}


@dataclass(frozen=True)
class ReadTake:
    name: str
    guid: str
    file: str | None
    """As it stands there: relative to the project if it lies in its folder; None for MIDI and empty takes."""
    offset_s: float
    volume: float
    play_rate: float
    ext: dict[str, str]


@dataclass(frozen=True)
class ReadItem:
    position_s: float
    length_s: float
    guid: str
    loops: bool
    is_muted: bool
    is_selected: bool
    volume: float
    fade_in_s: float
    fade_out_s: float
    auto_fade_in_s: float
    auto_fade_out_s: float
    timebase: int
    takes: tuple[ReadTake, ...]
    active: int
    ext: dict[str, str]

    @property
    def end_s(self) -> float:
        return self.position_s + self.length_s


@dataclass(frozen=True)
class ReadTrack:
    name: str
    guid: str
    depth: int
    """I_FOLDERDEPTH."""
    is_muted: bool
    is_selected: bool
    volume: float
    color: int
    play_offset: tuple[float, int]
    items: tuple[ReadItem, ...]
    ext: dict[str, str]


@dataclass(frozen=True)
class ReadProject:
    rate: int
    tempo: tuple[float, int, int]
    points: tuple[tuple[float, float, int, int, bool], ...]
    """Of the tempo map: time, BPM, numerator, denominator (0: kept), whether a ramp."""
    time_selection: tuple[float, float]
    markers: tuple[tuple[int, float, str], ...]
    regions: tuple[tuple[int, float, float, str], ...]
    tracks: tuple[ReadTrack, ...]
    ext_state: dict[str, dict[str, str]]
    root: Node = field(repr=False)

    def track(self, name: str) -> ReadTrack:
        return next(track for track in self.tracks if track.name == name)


def read(text: str | Path) -> ReadProject:
    """The project in the text, or the file. Raises AssertionError where the two parsers do not agree."""
    if isinstance(text, Path):
        text = text.read_text(encoding="utf-8")
    one, other = by_reaproj(text), by_rppxml(text)
    assert_same(one, other)
    project = _project(other)
    _assert_reaproj_agrees(project, reaproj.Project.loads(text))
    return project


# --- the parsers ------------------------------------------------------------------------------------------------------
def by_reaproj(text: str) -> Node:
    def node(element: Any) -> Node:
        children: list[Node | Words] = []
        for child in element:
            if isinstance(child, str):
                children.append((child,))
            else:
                children.append(tuple(child) if isinstance(child, list) else node(child))
        return Node((element.tag, *(element.attrib or ())), tuple(children))

    return node(reaproj.Project.loads(text).element)


def by_rppxml(text: str) -> Node:
    def node(block: Any) -> Node:
        children = [tuple(child) if isinstance(child, list) else node(child) for child in block.children]
        return Node((block.name, *block.params), tuple(children))

    return node(rppxml.loads(text))


def _same_words(text: Words, typed: Words) -> bool:
    return len(text) == len(typed) and all(map(_same_word, text, typed))


def _same_word(text: Word, typed: Word) -> bool:
    if isinstance(typed, bytes):  # two hexadecimal digits in a MIDI event
        return bytes.fromhex(str(text)) == typed
    return text == typed if isinstance(typed, str) else float(text) == typed


def assert_same(one: Node, other: Node, where: str = "") -> None:
    """Compares reaproj's reading with rppxml's. Raises AssertionError that names the first difference."""
    where = f"{where}<{one.tag}"
    assert _same_words(one.words, other.words), f"{where}: {one.words} and {other.words}"
    assert len(one.children) == len(other.children), f"{where}: {len(one.children)}, {len(other.children)} lines"
    for first, second in zip(one.children, other.children, strict=True):
        if isinstance(first, Node) and isinstance(second, Node):
            assert_same(first, second, where)
        else:
            same = isinstance(first, tuple) and isinstance(second, tuple) and _same_words(first, second)
            assert same, f"{where}: {first} and {second}"


# --- the view ---------------------------------------------------------------------------------------------------------
def _project(root: Node) -> ReadProject:
    tempo = root.line("TEMPO")
    points = [line for block in root.blocks("TEMPOENVEX") for line in block.lines("PT")]
    markers, regions, starts = [], [], {}
    for number, position, name, *flags in root.lines("MARKER"):
        if not flags[0]:
            markers.append((int(number), position, name))
        elif number not in starts:
            starts[number] = (position, name)
        else:
            start, title = starts.pop(number)
            regions.append((int(number), start, position, title))
    return ReadProject(
        rate=int(root.line("SAMPLERATE")[0]),
        tempo=(tempo[0], int(tempo[1]), int(tempo[2])),
        points=tuple((p[0], p[1], int(p[3]) & 65535, int(p[3]) >> 16, p[2] == 0) for p in points),
        time_selection=root.line("SELECTION")[:2],
        markers=tuple(markers),
        regions=tuple(regions),
        tracks=tuple(map(_track, root.blocks("TRACK"))),
        ext_state={
            section.tag: dict(section.texts())
            for block in root.blocks("EXTSTATE")
            for section in block.children
            if isinstance(section, Node)
        },
        root=root,
    )


def _track(node: Node) -> ReadTrack:
    offset, flag = node.line("PLAYOFFS")
    return ReadTrack(
        name=node.line("NAME")[0],
        guid=node.line("TRACKID")[0],
        depth=int(node.line("ISBUS")[1]),
        is_muted=bool(node.line("MUTESOLO")[0]),
        is_selected=bool(node.line("SEL")[0]),
        volume=float(node.line("VOLPAN")[0]),
        color=int(node.line("PEAKCOL")[0]),
        play_offset=(float(offset), int(flag)),
        items=tuple(map(_item, node.blocks("ITEM"))),
        ext=node.pairs("EXT"),
    )


def _item(node: Node) -> ReadItem:
    takes, active = _takes(node)
    return ReadItem(
        position_s=float(node.line("POSITION")[0]),
        length_s=float(node.line("LENGTH")[0]),
        guid=node.line("IGUID")[0],
        loops=bool(node.line("LOOP")[0]),
        is_muted=bool(node.line("MUTE")[0]),
        is_selected=bool(node.line("SEL")[0]),
        volume=float(node.line("VOLPAN")[0]),
        fade_in_s=float(node.line("FADEIN")[1]),
        fade_out_s=float(node.line("FADEOUT")[1]),
        auto_fade_in_s=float(node.line("FADEIN")[2]),
        auto_fade_out_s=float(node.line("FADEOUT")[2]),
        timebase=int(node.line("BEAT")[0]),
        takes=tuple(takes),
        active=active,
        ext=node.pairs("EXT"),
    )


def _takes(node: Node) -> tuple[list[ReadTake], int]:
    """A line TAKE begins each take after the first; the first one's lines stand among the item's."""
    parts: list[list[Node | tuple[Any, ...]]] = [[]]
    active = 0
    for child in node.children:
        if isinstance(child, tuple) and child[0] == "TAKE":
            active = len(parts) if "SEL" in child else active
            parts.append([])
        parts[-1].append(child)
    found = [Node(("TAKE",), tuple(part)) for part in parts]
    return [_take(part) for part in found if any(part.blocks("SOURCE"))], active


def _take(node: Node) -> ReadTake:
    (source,) = node.blocks("SOURCE")
    volumes = [*(line[1] for line in node.lines("TAKEVOLPAN")), *(line[2] for line in node.lines("VOLPAN"))]
    return ReadTake(
        name=node.line("NAME")[0],
        guid=node.line("GUID")[0],
        file=next((line[0] for line in source.lines("FILE")), None),
        offset_s=float(node.line("SOFFS")[0]),
        volume=float(volumes[0]),
        play_rate=float(node.line("PLAYRATE")[0]),
        ext=node.pairs("TAKE_EXT"),
    )


def _assert_reaproj_agrees(project: ReadProject, seen: Any) -> None:
    """reaproj's object view, which finds the fields by rules of its own."""
    items = [
        [(item.position_s, item.length_s, item.takes[0].offset_s if item.takes else None) for item in track.items]
        for track in project.tracks
    ]
    assert items == [[(item.position, item.length, item.soffs) for item in track.items] for track in seen.tracks]
    names = [track.name for track in seen.tracks]
    assert [track.name for track in project.tracks] == names
    assert [(r[1], r[2]) for r in project.regions] == [(region.start, region.end) for region in seen.regions]
