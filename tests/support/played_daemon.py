"""The daemon's side of the mailbox, played by a test: it takes requests and answers exactly as the contract says.

For tests of the scripts, where the test decides when the daemon speaks. The real daemon is driven in tests/e2e.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

VERSION = "0.1.0"


class PlayedDaemon:
    """`folder` is the mailbox."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._serial = 0

    def install(self, command: str = '"/opt/stembridge/bin/stembridge" serve') -> None:
        """What the installer leaves behind."""
        self.folder.mkdir(parents=True, exist_ok=True)
        start = {"protocol": 1, "version": VERSION, "command": command, "osc_port": 9241}
        (self.folder / "start.json").write_text(json.dumps(start), encoding="utf-8")

    def requests(self, folder: str = "requests") -> list[dict[str, Any]]:
        """What lies in requests/ (or taken/), oldest first."""
        files = sorted((self.folder / folder).glob("*.json"))
        return [json.loads(file.read_bytes()) for file in files]

    def take(self) -> dict[str, Any]:
        """Move the oldest request to taken/ and return it."""
        file = min((self.folder / "requests").glob("*.json"))
        taken = self.folder / "taken" / file.name
        taken.parent.mkdir(exist_ok=True)
        file.rename(taken)
        return dict(json.loads(taken.read_bytes()))

    def answer(self, request: dict[str, Any], state: str, **fields: Any) -> Path:
        """Replace the answer to `request`."""
        self._serial += 1
        answer = {
            "protocol": 1, "id": request["id"], "instance": request["instance"], "kind": request["kind"],
            "verb": request.get("verb"), "serial": self._serial, "state": state, "position": 0, "fraction": 0.0,
            "seconds_left": -1, "stage": "", "engine": "sketch", "version": VERSION, "updated": time.time(),
            "error": None, "warnings": [], "takes": [], "manifest": None, "folder": None, "source": None, "asked": {},
            "origin": request.get("origin"),
        } | fields  # fmt: skip
        path = self.folder / "answers" / request["instance"] / f"{request['id']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(answer), encoding="utf-8")
        part.replace(path)
        if state in ("done", "failed", "cancelled", "refused"):
            (self.folder / "taken" / f"{request['instance']}.{request['id']}.json").unlink(missing_ok=True)
        return path

    def unclaimed(self) -> list[str]:
        """File names of the answers that nobody has claimed, and of those that are claimed and not finished."""
        return sorted(file.name for file in (self.folder / "answers").glob("*/*.json"))
