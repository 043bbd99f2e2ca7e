"""Files and folders as REAPER sees them, and programs it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.reascript.errors import BadCall
from tests.support.reascript.registry import reascript


class Command(str):
    """A command line of ExecProcess."""

    timeout_ms: int = 0


@reascript("GetResourcePath")
def resource_path(host: Any) -> str:
    return str(host.resource)


@reascript("GetExePath")
def exe_path(host: Any) -> str:
    return str(host.resource / "program")


@reascript("file_exists")
def file_exists(_host: Any, path: str) -> bool:
    """Of files; a folder is none."""
    return Path(path).is_file()


@reascript("RecursiveCreateDirectory")
def create_directory(_host: Any, path: str, _ignored: int) -> int:
    """1 if something was made, 0 if it was there or cannot be made."""
    if Path(path).is_dir():
        return 0
    try:
        Path(path).mkdir(parents=True)
    except OSError:
        return 0
    return 1


@reascript("EnumerateFiles")
def enumerate_files(host: Any, path: str, index: int) -> str | None:
    return host.files.name(path, index, folders=False)


@reascript("EnumerateSubdirectories")
def enumerate_folders(host: Any, path: str, index: int) -> str | None:
    return host.files.name(path, index, folders=True)


@reascript("ExecProcess")
def exec_process(host: Any, command_line: str, timeout_ms: int) -> str | None:
    """Remembered; really started by the host's `exec`. nil where it could not be started.

    Errors: BadCall for a command line that would make REAPER wait: our scripts start things and go on (-1 and -2).
    """
    if timeout_ms not in (-1, -2):
        raise BadCall(f"ExecProcess with {timeout_ms} ms stops REAPER until the program ends")
    command = Command(command_line)
    command.timeout_ms = timeout_ms
    host.executed.append(command)
    try:
        result = host.exec(command_line) if host.exec else None
    except OSError:
        return None
    return result if isinstance(result, str) else "0\n"
