"""Undo steps of a project: whole states, taken when a block begins and when it ends.

Promises: a step is recorded only if the block changed something; undoing puts every record back as it was, byte for
byte in the dump. Records made since then die; deleted ones live again as the same records, so that a test may keep hold
of them. (In REAPER they come back with the same GUID under a new pointer; our scripts hold no pointer over an undo.)
The cursor, the view, the playback, the time selection and the dirty mark are not part of a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from tests.support.reascript.errors import BadCall, Unbalanced
from tests.support.reascript.model import Item, Project, Source, Take, Track
from tests.support.reascript.registry import reascript

SKIPPED: dict[type, set[str]] = {
    Project: {"dirty", "cursor", "playing", "play_position", "play_rate", "alive", "time_selection", "loop", "view",
              "undo_names"},
    Source: {"peaks"},
}  # fmt: skip
"""Fields that undo leaves alone."""

State = dict[int, tuple[Any, dict[str, Any]]]


def _copied(name: str, value: Any) -> Any:
    if name == "ext_state":
        return {section: dict(values) for section, values in value.items()}
    return value.copy() if isinstance(value, list | dict) else value


@cache
def _names(kind: type) -> list[str]:
    """The fields of a record that a state holds."""
    return [entry.name for entry in fields(kind) if entry.name not in SKIPPED.get(kind, ())]


def _records(project: Project) -> Iterator[Any]:
    yield project
    yield from project.tempo
    yield from project.markers
    for track in (project.master, *project.tracks):
        yield track
        yield from track.fx
        for item in track.items:
            yield item
            for take in item.takes:
                yield take
                yield from take.fx
                if take.source is not None:
                    yield take.source


def snapshot(project: Project) -> State:
    """Every record of the project with a copy of its fields, in the order of the project."""
    return {
        id(record): (record, {name: _copied(name, getattr(record, name)) for name in _names(type(record))})
        for record in _records(project)
    }


def restore(project: Project, state: State) -> None:
    for record in list(_records(project)):
        if isinstance(record, Track | Item | Take) and id(record) not in state:
            record.alive = False
    for record, values in state.values():
        for name, value in values.items():
            setattr(record, name, _copied(name, value))


@dataclass
class Step:
    name: str
    before: State
    after: State


@dataclass
class History:
    """One project's undo steps."""

    project: Project
    done: list[Step] = field(default_factory=list)
    undone: list[Step] = field(default_factory=list)
    began: State | None = None
    last: State = field(default_factory=dict)
    changes: int = 1
    """What GetProjectStateChangeCount tells."""

    def __post_init__(self) -> None:
        self.last = snapshot(self.project)

    def snapshot(self) -> State:
        return snapshot(self.project)

    def begin(self) -> None:
        if self.began is not None:
            raise Unbalanced("an undo block begins inside another one")
        self.began = snapshot(self.project)

    def end(self, name: str) -> None:
        if self.began is None:
            raise Unbalanced(f"the undo block {name!r} ends, but none began")
        before, self.began = self.began, None
        self.record(name, before)

    def record(self, name: str, before: State) -> None:
        after = snapshot(self.project)
        if not _same(before, after):
            self._step(name, before, after)
            self.project.dirty = True

    def record_script(self, name: str, before: State) -> None:
        """The step that REAPER makes of a script by itself, whether it changed anything or not."""
        self._step(f"ReaScript: {name}", before, snapshot(self.project))

    def _step(self, name: str, before: State, after: State) -> None:
        self.done.append(Step(name, before, after))
        self.undone.clear()
        self._changed(after)

    def undo(self) -> str | None:
        """Undoes the last step; its name, None if there is none."""
        if not self.done:
            return None
        step = self.done.pop()
        restore(self.project, step.before)
        self.undone.append(step)
        self._changed(step.before)
        self.project.dirty = True
        return step.name

    def redo(self) -> str | None:
        if not self.undone:
            return None
        step = self.undone.pop()
        restore(self.project, step.after)
        self.done.append(step)
        self._changed(step.after)
        self.project.dirty = True
        return step.name

    def _changed(self, now: State) -> None:
        self.last = now
        self.changes += 1
        self.project.undo_names[:] = [step.name for step in self.done]


def _same(one: State, other: State) -> bool:
    return list(one) == list(other) and all(one[key][1] == other[key][1] for key in one)


@reascript("Undo_BeginBlock2")
def begin_block(host: Any, project: Project) -> None:
    host.history(project).begin()


@reascript("Undo_BeginBlock")
def begin_block_active(host: Any) -> None:
    host.history(host.active).begin()


@reascript("Undo_EndBlock2")
def end_block(host: Any, project: Project, name: str, flags: int) -> None:
    if flags == 0 or not name:
        raise BadCall(f"Undo_EndBlock2 with the name {name!r} and flags {flags} records no usable step: use -1")
    host.history(project).end(name)


@reascript("Undo_EndBlock")
def end_block_active(host: Any, name: str, flags: int) -> None:
    end_block(host, host.active, name, flags)


@reascript("Undo_OnStateChange2")
def on_state_change(host: Any, project: Project, name: str) -> None:
    history = host.history(project)
    history.record(name, history.last)


@reascript("Undo_CanUndo2")
def can_undo(host: Any, project: Project) -> str | None:
    done = host.history(project).done
    return done[-1].name if done else None


@reascript("Undo_CanRedo2")
def can_redo(host: Any, project: Project) -> str | None:
    undone = host.history(project).undone
    return undone[-1].name if undone else None


@reascript("Undo_DoUndo2")
def do_undo(host: Any, project: Project) -> int:
    return int(host.history(project).undo() is not None)


@reascript("Undo_DoRedo2")
def do_redo(host: Any, project: Project) -> int:
    return int(host.history(project).redo() is not None)


@reascript("GetProjectStateChangeCount")
def state_change_count(host: Any, project: Project) -> int:
    return host.history(project).changes


@reascript("MarkProjectDirty")
def mark_dirty(host: Any, project: Project) -> None:
    project.dirty = True
