"""Puts the scripts into REAPER's resource folder, and takes exactly them away again.

What was installed is remembered with fingerprints in ``Stembridge/installed.json``, so that an upgrade and an uninstall
tell our files from the user's: a file that was changed is renamed to ``NAME.yours`` before ours takes its name, and is
never removed. Doing it again changes nothing. Nothing else in the resource folder is touched; REAPER's ini files are
not even opened here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bridge.reaper.files import fingerprint, fingerprint_of, put_aside, write_whole
from bridge.reaper.payload import scripts_folder
from protocol.errors import StembridgeError

OURS = "Stembridge"
MANIFEST, MAILBOX_TOLD, MAILBOX = f"{OURS}/installed.json", f"{OURS}/mailbox.txt", f"{OURS}/mailbox"
MAILBOX_FOLDERS = ("requests", "taken", "answers", "audio", "live")
START, DAEMON_LOCK = "start.json", ".daemon.lock"


class NotInstalled(StembridgeError):
    """REAPER's resource folder cannot be written to."""

    code = "not_installed"


@dataclass(frozen=True)
class Manifest:
    """What an install left: fingerprints by path below the resource folder, the folders that it made, the mailbox."""

    version: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    mailbox: str = ""


@dataclass
class Outcome:
    """What was done, as paths below the resource folder."""

    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    aside: list[Path] = field(default_factory=list)
    """The user's own files under their new names."""
    left: list[Path] = field(default_factory=list)
    """Files and folders that were ours once and now hold something of the user's, or something that still waits."""


def read_manifest(resource: Path) -> Manifest | None:
    """What was installed there; None if nothing was, or nothing can be read of it."""
    try:
        told = json.loads((resource / MANIFEST).read_text(encoding="utf-8"))
        files = {str(name): str(value) for name, value in told["files"].items() if _is_below(str(name))}
        folders = tuple(str(name) for name in told["folders"] if _is_below(str(name)))
        return Manifest(str(told["version"]), files, folders, str(told["mailbox"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def mailbox_of(resource: Path) -> Path:
    """Where this REAPER's scripts leave their requests: as ``Stembridge/mailbox.txt`` tells, else the usual place."""
    with suppress(OSError, UnicodeDecodeError):
        lines = (resource / MAILBOX_TOLD).read_text(encoding="utf-8-sig").splitlines()
        if lines and lines[0].strip():
            return Path(lines[0].strip())
    return resource / MAILBOX


# --- install ----------------------------------------------------------------------------------------------------------
def require_utf8(*paths: Path | None) -> None:
    """Raise `NotInstalled` for a name that no file of ours could tell the scripts or the daemon."""
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            shown = os.fsencode(path or "").decode("utf-8", "replace")
            raise NotInstalled(
                f"The name {shown} is not UTF-8 text, so neither REAPER's scripts nor the daemon could be told of it: "
                "rename that folder, then run the command again."
            ) from None


def install(
    resource: Path,
    contents: Mapping[str, bytes],
    version: str,
    mailbox: Path | None,
    start: bytes,
    *,
    keep_mailbox: bool = False,
) -> Outcome:
    """Install `contents` (by path below `resource`), make the mailbox with its ``start.json``, and remember it all.

    `mailbox` None keeps the one there is; one that is left for another is removed unless something waits in it or, by
    `keep_mailbox`, another REAPER uses it too. Raises `NotInstalled` if something cannot be written.
    """
    before = read_manifest(resource) or Manifest()
    try:
        outcome = _install(resource, before, contents, version, mailbox, start)
        old = Path(before.mailbox or resource / MAILBOX)
        moved = old.exists() and not old.samefile(mailbox_of(resource))  # not only written in another way
        if moved and not keep_mailbox and not remove_mailbox(old):
            outcome.left.append(old)
        return outcome
    except OSError as error:
        raise in_words(error, resource) from error


def _install(
    resource: Path, before: Manifest, contents: Mapping[str, bytes], version: str, mailbox: Path | None, start: bytes
) -> Outcome:
    outcome = Outcome()
    wanted = {**contents, **_mailbox_told(resource, mailbox)}
    made = [*before.folders, *_make_folders(resource, wanted)]
    for name, content in wanted.items():
        _place(resource, name, content, before.files.get(name), outcome)
    _remove(resource, {name: sum_ for name, sum_ in before.files.items() if name not in wanted}, outcome)
    _remove_folders(resource, made)
    where = mailbox_of(resource)
    for part in MAILBOX_FOLDERS:
        (where / part).mkdir(parents=True, exist_ok=True)
    write_whole(where / START, start)
    files = {name: fingerprint(content) for name, content in wanted.items()}
    folders = tuple(name for name in dict.fromkeys(made) if (resource / name).is_dir())
    _write_manifest(resource, Manifest(version, files, folders, str(where)))
    return outcome


def _mailbox_told(resource: Path, mailbox: Path | None) -> Mapping[str, bytes]:
    """``mailbox.txt`` as it shall be; none where the mailbox is in its usual place."""
    told = resource / MAILBOX_TOLD
    if mailbox is None:
        return {MAILBOX_TOLD: told.read_bytes()} if told.is_file() else {}
    if mailbox == resource / MAILBOX and not told.exists():
        return {}
    return {MAILBOX_TOLD: f"{mailbox}\n".encode()}


def _make_folders(resource: Path, names: Iterable[str]) -> list[str]:
    """Make the folders of these files; those that were not there before, upper ones first."""
    parents = {str(parent) for name in [*names, MANIFEST] for parent in PurePosixPath(name).parents}
    missing = [name for name in sorted(parents - {"."}) if not (resource / name).is_dir()]
    for name in missing:
        (resource / name).mkdir()
    return missing


def _place(resource: Path, name: str, content: bytes, installed: str | None, outcome: Outcome) -> None:
    path = resource / name
    there = fingerprint_of(path)
    if there == fingerprint(content):
        return
    if there is not None and there != installed:
        outcome.aside.append(put_aside(path))
    write_whole(path, content)
    outcome.written.append(name)


def _write_manifest(resource: Path, manifest: Manifest) -> None:
    content = {
        "version": manifest.version,
        "mailbox": manifest.mailbox,
        "folders": list(manifest.folders),
        "files": dict(manifest.files),
    }
    write_whole(resource / MANIFEST, f"{json.dumps(content, indent=1, ensure_ascii=False)}\n".encode())


# --- uninstall --------------------------------------------------------------------------------------------------------
def uninstall(resource: Path, *, keep_mailbox: bool = False) -> Outcome:
    """Remove what `install` left and nobody changed since; a mailbox in which something waits stays.

    `keep_mailbox`: another REAPER uses the same. Raises `NotInstalled` if there is nothing of ours, or it stays put.
    """
    manifest = read_manifest(resource)
    if manifest is None:
        raise NotInstalled(f"Stembridge is not installed in {resource}: there is nothing to remove.")
    outcome, mailbox = Outcome(), Path(manifest.mailbox)
    try:
        _remove(resource, manifest.files, outcome)
        if not keep_mailbox and not remove_mailbox(mailbox):
            outcome.left.append(mailbox)
        (resource / MANIFEST).unlink()
        _remove_folders(resource, manifest.folders)
    except OSError as error:
        raise in_words(error, resource) from error
    return outcome


def waiting(mailbox: Path) -> int:
    """How many requests, answers and pieces of audio lie in a mailbox."""
    patterns = ("requests/*.json", "taken/*.json", "answers/*/*.json", "audio/*")
    return sum(1 for pattern in patterns for _ in mailbox.glob(pattern))


def _remove(resource: Path, files: Mapping[str, str], outcome: Outcome) -> None:
    """Remove those of our files that are still as installed."""
    for name, installed in files.items():
        if (resource / name).parent.resolve().is_relative_to(scripts_folder().resolve()):
            continue  # a link into the checkout that we run from
        there = fingerprint_of(resource / name)
        if there == installed:
            (resource / name).unlink()
            outcome.removed.append(name)
        elif there is not None:
            outcome.left.append(resource / name)


def remove_mailbox(mailbox: Path) -> bool:
    """Remove an empty mailbox; False if something waits in it, and all stays."""
    if waiting(mailbox):
        return False
    (mailbox / START).unlink(missing_ok=True)
    with suppress(OSError):  # Windows keeps it while the daemon holds it
        (mailbox / DAEMON_LOCK).unlink(missing_ok=True)
    for folder in [*mailbox.glob("answers/*"), *(mailbox / part for part in MAILBOX_FOLDERS), mailbox]:
        with suppress(OSError):  # something of somebody else's is in it
            folder.rmdir()
    return not mailbox.exists()


def _remove_folders(resource: Path, names: Iterable[str]) -> None:
    """Remove those of the folders that are empty."""
    for name in sorted(names, reverse=True):
        with suppress(OSError):
            (resource / name).rmdir()


def _is_below(name: str) -> bool:
    """A manifest that somebody edited must not make us touch anything outside the resource folder."""
    path = PurePosixPath(name)
    return path.parts[:1] in (("Scripts",), ("OSC",), (OURS,)) and ".." not in path.parts and "\\" not in name


def in_words(error: OSError, folder: Path) -> NotInstalled:
    """The error for a user, for an `OSError` met while writing into `folder`."""
    return NotInstalled(
        f"{error.filename or folder} cannot be changed ({error.strerror or error}): make it writable, or free some "
        "space, and run the command again; it goes on where it stopped."
    )
