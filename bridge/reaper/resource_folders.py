"""Where REAPER keeps its settings, scripts and pattern files on this machine.

Source: the REAPER user guide on portable installs and the resource path. Not tried on Windows and macOS yet.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from protocol.errors import StembridgeError

INI, KEYS = "reaper.ini", "reaper-kb.ini"
_SHOWS = "REAPER's menu Options > Show REAPER resource path in explorer/finder"
_PROGRAMS = ("reaper.exe", "reaper", "REAPER.app", "REAPER64.app", "REAPER-ARM.app")


class NoReaper(StembridgeError):
    """No resource folder of REAPER was found, or several, or the one named is none."""

    code = "reaper_not_found"


@dataclass(frozen=True)
class Place:
    """Where to look: the system (``sys.platform``), the user's home and the environment."""

    system: str
    home: Path
    environment: Mapping[str, str]

    @classmethod
    def here(cls) -> Place:
        return cls(sys.platform, Path.home(), os.environ)


def find(place: Place) -> tuple[Path, ...]:
    """All resource folders there are, the user's own first, then portable installs in the usual places."""
    own = [folder for folder in _usual(place) if (folder / INI).is_file()]
    portable = [folder for folder in _portable(place) if (folder / INI).is_file() and _has_program(folder)]
    return _distinct([*own, *portable])


def chosen(told: Path | None, place: Place) -> Path:
    """The folder that `told` names (itself, a file in it, or a portable install), else the only one there is.

    Raises `NoReaper`, which says what to do.
    """
    if told is not None:
        return _checked(told)
    found = find(place)
    if len(found) == 1:
        return found[0]
    if found:
        listed = "".join(f'\n  --resource-path "{folder}"' for folder in found)
        raise NoReaper(f"There are {len(found)} REAPER installs; say which one:{listed}")
    looked = ", ".join(str(folder) for folder in _usual(place))
    raise NoReaper(
        f"No resource folder of REAPER was found ({looked}). Start REAPER once, then name the folder that "
        f'{_SHOWS} opens: --resource-path "FOLDER".'
    )


def actions_of(resource: Path) -> str:
    """What REAPER knows of scripts and key bindings, as it last wrote it; empty if nothing."""
    try:
        return (resource / KEYS).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


# --- where to look ----------------------------------------------------------------------------------------------------
def _usual(place: Place) -> tuple[Path, ...]:
    if place.system == "win32":
        roaming = place.environment.get("APPDATA")
        return (Path(roaming) / "REAPER" if roaming else place.home / "AppData" / "Roaming" / "REAPER",)
    if place.system == "darwin":
        return (place.home / "Library" / "Application Support" / "REAPER",)
    configured = place.environment.get("XDG_CONFIG_HOME")
    flatpak = place.home / ".var" / "app" / "fm.reaper.Reaper" / "config" / "REAPER"
    folders = [place.home / ".config" / "REAPER", flatpak]
    return tuple([Path(configured) / "REAPER", *folders] if configured else folders)


def _portable(place: Place) -> Iterable[Path]:
    """Folders in which people unpack REAPER; where the program finds a reaper.ini beside itself, that one counts."""
    names = ("REAPER", "REAPER (x64)", "REAPER (ARM64)", "reaper", "REAPER Portable")
    if place.system == "win32":
        drive = place.environment.get("SYSTEMDRIVE", "C:")
        programs = [place.environment.get(name) for name in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")]
        tops = [Path(f"{drive}\\"), *(Path(folder) for folder in programs if folder)]
    elif place.system == "darwin":
        tops = [Path("/Applications"), place.home / "Applications"]
    else:
        tops = [Path("/opt"), place.home / "opt", place.home / "Applications"]
    tops += [place.home, place.home / "Desktop", place.home / "Documents"]
    return [top / name for top in tops for name in names]


def _has_program(folder: Path) -> bool:
    return any((folder / program).exists() for program in _PROGRAMS)


def _distinct(folders: Iterable[Path]) -> tuple[Path, ...]:
    """Each folder once, though a file system that ignores case finds it under several names."""
    seen: dict[tuple[int, int], Path] = {}
    for folder in folders:
        status = folder.stat()
        seen.setdefault((status.st_dev, status.st_ino), folder)
    return tuple(seen.values())


def _checked(told: Path) -> Path:
    folder = told.expanduser().absolute()
    if folder.is_file() or folder.suffix == ".app":  # reaper.ini or the program itself
        folder = folder.parent
    if (folder / INI).is_file():
        return folder
    if not folder.is_dir():
        raise NoReaper(f"There is no folder {folder}: name the one that {_SHOWS} opens.")
    raise NoReaper(
        f"{folder} holds no {INI}, so it is not REAPER's resource folder. Start REAPER once; {_SHOWS} opens the "
        "right one."
    )
