"""The user's project folder: which folder it is, where its media lie, and which files a message may name.

Promise: nothing that a message names leads outside the projects the user opened (and the configuration's
`media_roots`), whatever it is made of: ``..``, absolute names, symbolic links, other drives; and nothing but plain
files is ever opened. How stems get into the project is told in `bridge.delivery`.

Everything here may block on a disk: call it in a thread.
"""

from __future__ import annotations

import logging
import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PureWindowsPath

from protocol.errors import (
    BadArgument,
    MissingContext,
    OutsideProject,
    ProjectError,
    ProjectGone,
    SourceMissing,
    SourceUnreadable,
)
from protocol.job import ProjectRef
from protocol.music import checked_rate

log = logging.getLogger("stembridge.project")

_RPP_LIMIT = 8 << 20
"""Bytes of an .rpp that are read; what we need stands before the first track."""


# --- names ------------------------------------------------------------------------------------------------------------
def _spellings(what: str, name: str) -> tuple[str, ...]:
    """The name as given and in both Unicode forms: macOS and DAWs disagree on how "ä" is stored."""
    if not name or "\0" in name:
        raise BadArgument(f"{what} must be the name of a file or folder, not {name[:80]!r}.")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise BadArgument(f"{what} must be UTF-8 text, not {name[:80]!r}.") from None
    return tuple(dict.fromkeys((name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))))


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # no such user, or no home
        return Path(name)


def _resolved(path: Path) -> Path | None:
    """`path` without symbolic links and ``..``, whether it exists or not; None if the system cannot follow it."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name too long, a name that cannot be
        return None


def _is_inside(path: Path, folder: Path) -> bool:
    """True if the resolved `path` lies in (or is) the resolved `folder`, whatever the system thinks of upper case."""
    return path.is_relative_to(folder) or any(_is_same_folder(parent, folder) for parent in (path, *path.parents))


def _is_same_folder(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except (OSError, ValueError):
        return False


def _mode(path: Path) -> int | None:
    """The file's type and mode without opening it; None if there is nothing (that we may see)."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None


# --- opening a project ------------------------------------------------------------------------------------------------
def open_project(
    name: str, sample_rate: int | None, roots: Sequence[Path] = (), media: str | None = None
) -> ProjectRef:
    """The project at a folder, or at an .rpp file, which also tells the media folder and the sample rate (Hz).

    `media`, if the DAW tells it, is where it records to at this moment; it counts more than what the file says. Raises
    `BadArgument` for a name or rate that cannot be, `ProjectGone` if nothing is there, `OutsideProject` if `roots` (the
    configuration's `roots`) are given and none contains it, else `ProjectError`.
    """
    rate = None if sample_rate is None else checked_rate(sample_rate)
    candidates = [_expanded(spelling) for spelling in _spellings("A project", name)]
    if not candidates[0].is_absolute():
        raise ProjectError(f"A project is given by its full path, not {name!r}: send the whole path of its folder.")
    path = next((path for path in candidates if _mode(path) is not None), candidates[0])
    rpp = path if path.suffix.lower() == ".rpp" and not stat.S_ISDIR(_mode(path) or 0) else None
    folder = _project_folder(path if rpp is None else rpp.parent, roots)
    media_folder, rpp_rate = folder, None
    if rpp is not None:
        settings = _read_rpp(rpp)
        media_folder = _media_folder(folder, settings.get("RECORD_PATH", []))
        rpp_rate = _rpp_rate(settings.get("SAMPLERATE", []))
    if media:
        media_folder = _media_folder(folder, [media])
    return ProjectRef(
        folder=str(folder), media_folder=str(media_folder), sample_rate=rpp_rate if rate is None else rate
    )


def _project_folder(path: Path, roots: Sequence[Path]) -> Path:
    folder = _resolved(path)
    allowed = [root for root in map(_resolved, (root.expanduser() for root in roots)) if root is not None]
    if roots and not (folder and any(_is_inside(folder, root) for root in allowed)):
        raise OutsideProject(
            f"The project {path} lies outside the folders that the configuration allows "
            f"({', '.join(map(str, roots))}): add its folder to `roots` there."
        )
    mode = _mode(folder) if folder else None
    if folder is None or mode is None:
        raise ProjectGone(f"There is no folder {path}: check the path; an unsaved project must be saved first.")
    if not stat.S_ISDIR(mode):
        raise ProjectError(f"{path} is not a folder: send the project's folder or its .rpp file.")
    if folder == folder.parent:
        raise ProjectError(f"{folder} is a whole disk, not a project: send the project's own folder.")
    _spellings("A project", str(folder))  # a link may lead to a name that is not text
    return folder


def _read_rpp(rpp: Path) -> dict[str, list[str]]:
    """The top-level settings RECORD_PATH and SAMPLERATE of a REAPER project, each as its list of values."""
    mode = _mode(rpp)
    if mode is None:
        raise ProjectGone(f"There is no file {rpp}: save the project in REAPER first, or check the path.")
    if not stat.S_ISREG(mode):  # a pipe would block for ever
        raise ProjectError(f"{rpp} is not a file: send the project's folder or its .rpp file.")
    try:
        with rpp.open("rb") as file:
            content = file.read(_RPP_LIMIT)
    except OSError as error:
        raise ProjectError(f"{rpp} cannot be read ({error.strerror}): check its permissions.") from error
    settings: dict[str, list[str]] = {}
    depth = 0
    for raw in content.splitlines():
        line = raw.strip()
        if line.startswith(b"<TRACK"):  # what concerns us stands before the tracks, which can be long
            break
        if line.startswith(b"<"):
            depth += 1
        elif line == b">":
            depth -= 1
        elif depth == 1 and line.startswith((b"RECORD_PATH", b"SAMPLERATE")):
            key, *values = _rpp_words(_decoded(line))
            settings.setdefault(key, values)
    return settings


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")  # projects of old REAPER versions on Windows


def _rpp_words(line: str) -> Iterator[str]:
    """The words of an RPP line; a word may be quoted with ``"``, ``'`` or a backtick, with no escapes."""
    rest = line.strip()
    while rest:
        if rest[0] in "\"'`":
            word, _, rest = rest[1:].partition(rest[0])
        else:
            word = rest.split(None, 1)[0]
            rest = rest[len(word) :]
        yield word
        rest = rest.lstrip()


def _media_folder(folder: Path, values: Sequence[str]) -> Path:
    """The folder that RECORD_PATH or the DAW names if it lies in the project's folder, else the project's folder."""
    if not values or not values[0] or "\0" in values[0]:
        return folder
    named = PureWindowsPath(values[0])  # splits at both kinds of slash: projects travel between systems
    media = None if named.drive and os.name != "nt" else _resolved(folder / named.as_posix())
    if media is None or not media.is_relative_to(folder) or stat.S_ISREG(_mode(media) or 0):
        log.warning("the project records to %r, which is not inside %s; stems go to that folder", values[0], folder)
        return folder
    return media


def _rpp_rate(values: Sequence[str]) -> int | None:
    """SAMPLERATE is the rate and whether the project insists on it; if not, the audio device decides."""
    try:
        return checked_rate(int(values[0])) if int(values[1]) else None
    except (IndexError, ValueError, BadArgument):
        return None


# --- the source -------------------------------------------------------------------------------------------------------
def resolve_source(name: str, projects: Sequence[ProjectRef], media_roots: Sequence[Path] = ()) -> Path:
    """The real path of a source file: absolute, or relative to an opened project (the last one opened first).

    Raises `OutsideProject` for everything outside the opened projects and `media_roots`, whether it exists or not,
    `SourceMissing`, `SourceUnreadable` if it is not a plain file, `MissingContext` for a relative name without project.
    """
    folders = [Path(f) for project in reversed(projects) for f in (project.folder, project.media_folder)]
    roots = [*folders, *(root for root in (_resolved(root.expanduser()) for root in media_roots) if root is not None)]
    spellings = [_expanded(spelling) for spelling in _spellings("A source", name)]
    if not spellings[0].is_absolute() and not folders:
        raise MissingContext(f"Open a project first (/stembridge/project), or give the full path of {name!r}.")
    bases = [Path()] if spellings[0].is_absolute() else list(dict.fromkeys(folders))
    found = [[path for spelling in spellings if (path := _resolved(base / spelling)) is not None] for base in bases]
    inside = [[path for path in paths if any(_is_inside(path, root) for root in roots)] for paths in found]
    path = next((path for paths in inside for path in paths if _mode(path) is not None), None)
    if path is None and any(paths and not within for paths, within in zip(found, inside, strict=True)):
        raise OutsideProject(
            f"{name!r} lies outside the opened projects: copy the file into the project's folder, or add its folder to "
            "`media_roots` in the configuration."
        )
    if path is None:
        raise SourceMissing(f"There is no file {name!r} in the opened project: check its name, or save it there first.")
    _spellings("A source", str(path))  # a link may lead to a name that is not text
    if not stat.S_ISREG(_mode(path) or 0):
        raise SourceUnreadable(f"{name!r} is not an audio file: give the name of a file, not of a folder or a device.")
    return path
