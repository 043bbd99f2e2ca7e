"""Which mailboxes the daemon watches: ``<data folder>/reaper.json``, written by `stembridge reaper install`.

A file of its own, because the configuration is the user's and is never written by a program. ``mailboxes`` is what the
daemon reads, and reads again when it changes; ``resources`` says which REAPER uses which, as several may share one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from bridge.reaper.files import write_whole

NAME = "reaper.json"


def registered(data_dir: Path) -> Mapping[Path, Path]:
    """The mailbox of each resource folder; none if the file cannot be read."""
    try:
        told = json.loads((data_dir / NAME).read_text(encoding="utf-8"))["resources"]
        return {Path(resource): Path(mailbox) for resource, mailbox in told.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def register(data_dir: Path, resource: Path, mailbox: Path | None) -> None:
    """Have the mailbox of this REAPER watched; None: no longer. Raises `OSError`."""
    known = {str(other): str(folder) for other, folder in registered(data_dir).items() if other != resource}
    if mailbox is not None:
        known[str(resource)] = str(mailbox)
    told = {"mailboxes": list(dict.fromkeys(known.values())), "resources": known}
    data_dir.mkdir(parents=True, exist_ok=True)
    write_whole(data_dir / NAME, f"{json.dumps(told, indent=1, ensure_ascii=False)}\n".encode())
