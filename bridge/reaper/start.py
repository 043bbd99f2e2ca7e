"""The command line that starts the daemon of this very installation, from inside REAPER and without a window.

REAPER's ExecProcess knows no shell and promises no PATH, so the command names the Python that runs now by its full
path, words quoted where needed; and as it is started in any folder, Python must not take modules from there (``-P``).
"""

from __future__ import annotations

import json
import ntpath
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bridge import __version__
from protocol import PROTOCOL_VERSION
from protocol.errors import StembridgeError


class CannotQuote(StembridgeError):
    """A path cannot be written into a command line."""

    code = "cannot_start"


def start_file(osc_port: int, arguments: Sequence[str]) -> bytes:
    """The mailbox's ``start.json``: how a script starts ``stembridge serve`` with these arguments."""
    command = start_command(sys.executable, ["serve", *arguments], sys.platform, lambda path: Path(path).is_file())
    content = {"protocol": PROTOCOL_VERSION, "version": __version__, "command": command, "osc_port": osc_port}
    return f"{json.dumps(content, indent=1, ensure_ascii=False)}\n".encode()


def started_program(start: Path) -> Path | None:
    """The Python that a mailbox's ``start.json`` names; None if the file is missing or damaged."""
    try:
        return Path(json.loads(start.read_text(encoding="utf-8"))["command"].split('"')[1])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def start_command(python: str, arguments: Sequence[str], system: str, is_file: Callable[[str], bool]) -> str:
    """`python` running `stembridge` with `arguments`, as one line; `system` is a ``sys.platform``.

    On Windows it is the pythonw.exe beside `python`, if there is one: a program without a console.
    """
    words = ["-P", "-m", "bridge.cli", *arguments]
    if system == "win32":
        windowless = ntpath.join(ntpath.dirname(python), "pythonw.exe")
        return f'"{windowless if is_file(windowless) else python}" {subprocess.list2cmdline(words)}'
    return " ".join([_quoted(python, always=True), *map(_quoted, words)])


def _quoted(word: str, always: bool = False) -> str:
    if '"' in word:
        raise CannotQuote(f"{word} holds a quotation mark, so REAPER could not start the daemon: rename that folder.")
    plain = not always and word and all(letter.isalnum() or letter in "-_./=:," for letter in word)
    return word if plain else f'"{word}"'
