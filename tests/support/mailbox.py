"""REAPER's side of a mailbox, as the scripts do it: requests written then renamed, answers read and claimed."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

Json = dict[str, Any]
INSTANCE, OTHER_INSTANCE = "1f2e3d4c", "99aabbcc"
DEADLINE_S = 30.0
_numbers = itertools.count(1)


def request(**changes: Any) -> Json:
    """A repaint of bars 9 to 12 at 120 BPM and 44.1 kHz, with 32 s of audio; `changes` replace whole fields."""
    made: Json = {
        "protocol": 1,
        "id": f"20261123-075200-{next(_numbers):06x}",
        "instance": INSTANCE,
        "kind": "request",
        "created": int(time.time()),
        "scripts": "0.1.0",
        "reaper": "7.28/linux-x86_64",
        "doorbell": "_RSabc0123456789",
        "verb": "repaint",
        "project": {"file": "/songs/A/A.rpp", "media": "/songs/A/Media", "sample_rate": 44_100},
        "source": {"files": [], "start_frame": 0, "frames": 32 * 44_100, "through": "fx"},
        "regions": [{"start_frame": 705_600, "end_frame": 1_058_400}],
        "tempo": [{"time": 0.0, "bpm": 120.0, "num": 4, "den": 4, "linear": False}],
        "checks": {"start_qn": 32.0, "end_qn": 48.0, "start_bar": 9, "start_beat": 0.0},
        "key": "Am",
        "position": 16.0,
        "playing": False,
        "options": {},
        "settings": {"seed": 7},
        "origin": {"project_name": "A.rpp", "tracks": ["{GUID}"], "live": None},
    }
    made["source"]["files"] = [f"{made['id']}.1.wav"]
    return copy.deepcopy({**made, **changes})


class Script:
    """One REAPER on the mailbox at `root`."""

    def __init__(self, root: Path, instance: str = INSTANCE) -> None:
        self.root, self.instance = root, instance

    def folder(self, name: str) -> Path:
        return self.root / name

    def answer_file(self, request_id: str) -> Path:
        return self.root / "answers" / self.instance / f"{request_id}.json"

    def request_file(self, request_id: str, folder: str = "requests") -> Path:
        return self.root / folder / f"{self.instance}.{request_id}.json"

    def audio(self, request_id: str, samples: np.ndarray, rate: int, number: int = 1, subtype: str = "FLOAT") -> Path:
        """Leave source audio, ``(frames, channels)``."""
        path = self.folder("audio") / f"{request_id}.{number}.wav"
        soundfile.write(path, samples, rate, subtype=subtype)
        return path

    def post(self, content: Json | bytes, request_id: str | None = None) -> str:
        """Leave a request; its id."""
        if isinstance(content, dict):
            content = {**content, "instance": self.instance}
            request_id = request_id or content["id"]
            content = json.dumps(content).encode()
        assert request_id is not None
        final = self.request_file(request_id)
        temporary = final.with_name(f"{final.name}.tmp")
        temporary.write_bytes(content)
        temporary.rename(final)
        return request_id

    def answer(self, request_id: str) -> Json | None:
        try:
            return json.loads(self.answer_file(request_id).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def state(self, request_id: str) -> str | None:
        answer = self.answer(request_id)
        return answer["state"] if answer else None

    def claim(self, request_id: str) -> Json:
        """Take a final answer as the watcher does; `finish` ends it."""
        final = self.answer_file(request_id)
        claimed = final.with_name(f"{request_id}.claimed.json")
        final.rename(claimed)
        return json.loads(claimed.read_text(encoding="utf-8"))

    def finish(self, request_id: str) -> None:
        self.answer_file(request_id).with_name(f"{request_id}.claimed.json").unlink()

    def wait(self, wanted: Callable[[], Any], timeout_s: float = DEADLINE_S) -> Any:
        """Look again and again, as the watcher does, until there is what is wanted."""
        deadline = time.monotonic() + timeout_s
        while not (found := wanted()):
            assert time.monotonic() < deadline, f"not seen within {timeout_s} s in {sorted(self.root.rglob('*'))}"
            time.sleep(0.005)
        return found

    def final(self, request_id: str, timeout_s: float = DEADLINE_S) -> Json:
        """Wait for the answer that ends a request."""
        ends = ("done", "failed", "cancelled", "refused")
        return self.wait(lambda: (a := self.answer(request_id)) and a["state"] in ends and a, timeout_s)


async def until(wanted: Callable[[], Any], timeout_s: float = DEADLINE_S) -> Any:
    """As `Script.wait`, on a loop."""
    async with asyncio.timeout(timeout_s):
        while not (found := wanted()):  # noqa: ASYNC110 - what is waited for happens on a disk
            await asyncio.sleep(0.005)
    return found
