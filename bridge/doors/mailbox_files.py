"""The files of one mailbox: what is listed, read, moved, written and swept, and nothing outside the folder touched.

A mailbox can be written by whoever may write its folder, so nothing in it is trusted: only plain files with the names
of the format count, links are neither read nor written through, and what is deleted are our own kinds of files.
Everything here blocks on a disk: call it in a thread. Raises `OSError` where nothing else is said.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from protocol.mailbox import MAX_REQUEST_BYTES, Address, address_of, is_instance
from protocol.mailbox_answer import Answer, read_answer

log = logging.getLogger("stembridge.mailbox")

REQUESTS, TAKEN, ANSWERS, AUDIO, LIVE = FOLDERS = ("requests", "taken", "answers", "audio", "live")
_HOUR_S, _DAY_S = 3600.0, 86_400.0
TEMPORARY_S, AUDIO_S, UNCLAIMED_S, CLAIMED_S = _HOUR_S, _DAY_S, 7 * _DAY_S, _DAY_S
"""How old (s) what nobody wants must be to be swept away."""
_MAX_ANSWER_BYTES = 64 << 20
_REPLACE_TRIES, _REPLACE_PAUSE_S = 20, 0.025
"""Windows refuses to replace a file that another program reads at that moment."""
_IS_WINDOWS = os.name == "nt"

Shown = Answer | Literal["gone", "claimed"]
"""What the script has of an answer: it lies there, or it is being placed, or the script is done with it."""


@dataclass(frozen=True)
class MailboxFiles:
    """The mailbox at `root`, which need not exist."""

    root: Path

    def prepare(self) -> tuple[int, ...] | None:
        """Make what is missing inside; what tells these very folders from others in their place; None: no mailbox.

        The mailbox itself is not made: it may lie on a disk that is not connected.
        """
        try:
            status = self.root.stat()
        except OSError:
            return None
        for name in FOLDERS:
            (self.root / name).mkdir(exist_ok=True)
            self._require_plain(self.root / name)
        return status.st_dev, status.st_ino, os.lstat(self.root / REQUESTS).st_ino

    def is_open_to_all(self) -> bool:
        """True if any user of this computer may leave requests here."""
        return os.name != "nt" and any(
            folder.stat().st_mode & stat.S_IWOTH for folder in (self.root, self.root / REQUESTS)
        )

    # --- requests -----------------------------------------------------------------------------------------------------
    def waiting(self) -> list[Address]:
        """The requests that nobody has taken yet, in the order of their ids."""
        return self._listed(REQUESTS)

    def taken(self) -> list[Address]:
        """The requests whose answers are not done with yet."""
        return self._listed(TAKEN)

    def _listed(self, folder: str) -> list[Address]:
        found = (address_of(entry.name) for entry in _plain_files(self.root / folder))
        return sorted((address for address in found if address is not None), key=lambda a: (a.id, a.instance))

    def read_request(self, address: Address) -> bytes | None:
        """The content, at most one byte more than is allowed; None if the request was withdrawn."""
        return _read_plain(self.root / REQUESTS / address.file_name, MAX_REQUEST_BYTES + 1)

    def read_taken(self, address: Address) -> bytes | None:
        return _read_plain(self.root / TAKEN / address.file_name, MAX_REQUEST_BYTES + 1)

    def take(self, address: Address) -> bool:
        """Move an answered request aside; False if it was withdrawn meanwhile."""
        try:
            _insist(lambda: (self.root / REQUESTS / address.file_name).replace(self.root / TAKEN / address.file_name))
        except FileNotFoundError:
            if not (self.root / REQUESTS).is_dir():
                raise
            return False
        return True

    def forget(self, address: Address) -> None:
        """The script is done with the answer: delete the request."""
        (self.root / TAKEN / address.file_name).unlink(missing_ok=True)

    def forget_fetched(self, addresses: Collection[Address]) -> list[Address]:
        """Delete those of the requests whose answers the scripts are done with; which these are."""
        fetched = [address for address in addresses if not self._answer_is_there(address)]
        for address in fetched:
            self.forget(address)
        return fetched

    def _answer_is_there(self, address: Address) -> bool:
        folder = self.root / ANSWERS / address.instance
        return any(os.path.lexists(folder / f"{address.id}.{suffix}") for suffix in ("json", "claimed.json"))

    # --- answers ------------------------------------------------------------------------------------------------------
    def write(self, answer: Answer) -> None:
        """Put an answer in the place of the one before, whole or not at all; a final one is on the disk then."""
        folder = self.root / ANSWERS / answer.instance
        folder.mkdir(exist_ok=True)
        self._require_plain(folder)
        temporary, final = folder / f"{answer.id}.json.tmp", folder / f"{answer.id}.json"
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
            file.write(answer.to_json())
            if answer.is_final:
                file.flush()
                os.fsync(file.fileno())
        _insist(lambda: temporary.replace(final))

    def shown(self, address: Address) -> Shown:
        """What the script has of an answer; a damaged file counts as one that was never written."""
        folder = self.root / ANSWERS / address.instance
        content = _read_plain(folder / f"{address.id}.json", _MAX_ANSWER_BYTES)
        if content is not None:
            return read_answer(content) or Answer(id=address.id, instance=address.instance)
        return "claimed" if (folder / f"{address.id}.claimed.json").is_file() else "gone"

    # --- audio --------------------------------------------------------------------------------------------------------
    def audio_file(self, name: str) -> Path | None:
        """A file in audio/ if it is a plain one, no link; `name` has no folder in it."""
        path = self.root / AUDIO / name
        return path if _is_plain(path) else None

    def remove_audio(self, names: Collection[str]) -> None:
        """Delete source audio that was taken into the project; what another program holds is swept later."""
        for name in names:
            with suppress(OSError):
                (self.root / AUDIO / name).unlink()

    # --- live extension -----------------------------------------------------------------------------------------------
    def heartbeat(self, instance: str) -> tuple[bytes, float] | None:
        """What a REAPER's script says of where it plays, and when that was written (s since the epoch)."""
        path = self.root / LIVE / f"{instance}.json"
        try:
            written = os.lstat(path).st_mtime_ns / 1e9
        except FileNotFoundError:
            return None
        content = _read_plain(path, MAX_REQUEST_BYTES)
        return None if content is None else (content, written)

    def remove_heartbeat(self, instance: str) -> None:
        with suppress(OSError):
            (self.root / LIVE / f"{instance}.json").unlink(missing_ok=True)

    # --- sweeping -----------------------------------------------------------------------------------------------------
    def sweep(self, now: float, in_work: Collection[Address]) -> None:
        """Delete what nobody will ask for again; `now` is in seconds since the epoch, requests `in_work` stay."""
        waiting = {address.id for address in (*self.waiting(), *in_work)}
        self._sweep(REQUESTS, lambda name: TEMPORARY_S if name.endswith(".tmp") else None, now)
        self._sweep(LIVE, lambda _: CLAIMED_S, now)
        self._sweep(AUDIO, lambda name: None if name.split(".")[0] in waiting else AUDIO_S, now)
        open_answers = {(address.instance, f"{address.id}.json") for address in in_work}
        for folder in [entry.name for entry in os.scandir(self.root / ANSWERS) if entry.is_dir(follow_symlinks=False)]:
            if is_instance(folder):
                kept = {name for instance, name in open_answers if instance == folder}
                self._sweep(f"{ANSWERS}/{folder}", partial(_age_of_answer, kept), now)
                if now - (self.root / ANSWERS / folder).stat().st_mtime > _HOUR_S:
                    with suppress(OSError):  # it is not empty
                        (self.root / ANSWERS / folder).rmdir()
        for address in self.taken():
            if address not in in_work and self.shown(address) == "gone":
                self.forget(address)

    def _sweep(self, folder: str, age_of: Callable[[str], float | None], now: float) -> None:
        for entry in list(_plain_files(self.root / folder)):
            oldest_s = age_of(entry.name)
            with suppress(OSError):
                if oldest_s is not None and now - entry.stat(follow_symlinks=False).st_mtime > oldest_s:
                    log.info("sweeping away %s", entry.path)
                    Path(entry.path).unlink()

    @staticmethod
    def _require_plain(folder: Path) -> None:
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise NotADirectoryError(f"{folder} is not a folder of its own: a link there would lead out of the mailbox")


def _age_of_answer(kept: Collection[str], name: str) -> float | None:
    if name in kept:
        return None
    if name.endswith(".tmp"):
        return TEMPORARY_S
    if name.endswith(".claimed.json"):
        return CLAIMED_S
    return UNCLAIMED_S if name.endswith(".json") else None


def _plain_files(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if entry.is_file(follow_symlinks=False))


def _is_plain(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _read_plain(path: Path, limit: int) -> bytes | None:
    """At most `limit` bytes of a plain file; None if there is none."""
    if not _is_plain(path):
        return None
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            return file.read(limit)
    except FileNotFoundError:
        return None


def _insist(move: Callable[[], object]) -> None:
    """Try again for half a second where Windows says that the file is in use."""
    for left in reversed(range(_REPLACE_TRIES)):
        try:
            move()
            return
        except PermissionError:
            if not _IS_WINDOWS or not left:
                raise
            time.sleep(_REPLACE_PAUSE_S)
