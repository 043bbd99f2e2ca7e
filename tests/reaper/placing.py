"""Answers of the daemon, made by hand with real audio files, and the placing of them by the real Lua.

`Stage` is one project in a double of REAPER: it makes takes of noise and answers with them, runs `lib/place.lua` on an
answer as the watcher would, and listens to the project before and after.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tests.support.reascript.audio import Audio, master_mix
from tests.support.reascript.host import Reaper
from tests.support.reascript.model import Item, Project, Take, Track
from tests.support.reascript.rpp import dump
from tests.support.reascript.tempo import TempoRules

ROOT = Path(__file__).resolve().parents[2] / "reaper_scripts" / "Stembridge"

DRIVER = """
local root, inbox, outbox = "{root}/", "{inbox}", "{outbox}"
local app = dofile(root .. "lib/stembridge.lua")(reaper, gfx, root)
app.run(function()
  local message, sentence = app.place.place(app.json.decode(app.files.read(inbox)))
  app.files.write_new(outbox, app.json.encode({{ message = message, sentence = sentence }}))
end)
"""

JOB = "20261123-075200-3f9a2c"

HEARD_S = 56


class Stage:
    """One open project and what its user hears. `rate`: Hz."""

    def __init__(self, reaper: Reaper, project: Project, folder: Path) -> None:
        self.reaper = reaper
        self.project = reaper.open(project)
        self.folder = folder
        self.rate = project.rate
        self._last_heard = ("", np.zeros((2, 0), np.float32))
        self.before = dump(project)
        self.heard_before = self.heard()

    @property
    def tracks(self) -> list[Track]:
        return self.project.tracks

    def heard(self) -> Audio:
        """The first HEARD_S seconds of the master mix."""
        state = dump(self.project)
        if self._last_heard[0] != state:
            self._last_heard = state, master_mix(self.project, self.rate, 0, HEARD_S * self.rate)
        return self._last_heard[1]

    def frame(self, seconds: float) -> int:
        return round(seconds * self.rate)

    # --- answers ---
    def take(self, number: int, start_s: float, end_s: float, **more: Any) -> dict[str, Any]:
        """A take of noise, another one for every number, in a file of its own."""
        start, frames = self.frame(start_s), self.frame(end_s) - self.frame(start_s)
        rate = more.get("sample_rate", self.rate)
        name = f"{more.get('track') or 'take'}-{number}-{start}.wav"
        path = self.folder / "Media" / "stembridge" / more.pop("job", JOB) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, (frames, 2)).astype(np.float32)
        soundfile.write(path, noise, rate, subtype="FLOAT")
        same = dict.fromkeys(("number", "variation", "rank"), number)
        made = {"file": str(path), "midi": None, "seed": 6 + number, "score": 80.0, "track": None, "region": 0}
        return same | made | {"start_frame": start, "frames": frames, "sample_rate": rate} | more

    def answer(
        self,
        takes: Sequence[dict[str, Any]],
        place: str = "takes",
        verb: str = "repaint",
        job: str = JOB,
        **origin: Any,
    ) -> dict[str, Any]:
        """The daemon's last word on a request from the first track; `origin`: what differs in it."""
        first, tempo = takes[0], TempoRules(self.project)
        start_s, end_s = (frame / self.rate for frame in (first["start_frame"], first["start_frame"] + first["frames"]))
        start_qn, end_qn = tempo.qn_at(start_s), tempo.qn_at(end_s)
        asked = {
            "verb": verb, "key": "Am", "options": {}, "settings": {"prompt": "calmer", "variations": 2},
            "regions": [{"start_frame": first["start_frame"], "end_frame": first["start_frame"] + first["frames"]}],
            "tempo": [{"time": 0.0, "bpm": 120.0, "num": 4, "den": 4, "linear": False}],
            "checks": {"start_qn": start_qn, "end_qn": end_qn, "start_bar": 9, "start_beat": 0.0},
            "project": {"file": str(self.project.path), "media": str(self.folder / "Media"), "sample_rate": self.rate},
        }  # fmt: skip
        came_from = {
            "project_file": str(self.project.path), "project_name": "Song.rpp", "verb": verb, "place": place,
            "tab": str(self.reaper.pointer(self.project)),
            "tracks": [self.tracks[0].guid], "items": [], "mute_original": False, "title": "bars 9-12",
            "undo": f"Stembridge: {verb} bars 9-12", "prompt": "calmer",
        }  # fmt: skip
        return {
            "protocol": 1, "id": job, "instance": "1f2e3d4c", "kind": "request", "verb": verb, "state": "done",
            "serial": 7, "takes": list(takes), "manifest": None, "folder": str(Path(first["file"]).parent),
            "source": {"file": str(self.folder / "Media" / "source.wav"), "start_frame": 0}, "warnings": [],
            "error": None, "asked": asked, "origin": came_from | origin,
        }  # fmt: skip

    # --- what happens ---
    def place(self, answer: dict[str, Any]) -> str:
        """The message. Errors: AssertionError with the sentence, if there is none."""
        told = self.tell(answer)
        assert "message" in told, told
        return str(told["message"])

    def refused(self, answer: dict[str, Any]) -> str:
        """The sentence that says why nothing was placed."""
        told = self.tell(answer)
        assert "message" not in told, told
        return str(told["sentence"])

    def tell(self, answer: dict[str, Any]) -> dict[str, Any]:
        files = {name: self.reaper.resource / f"{name}.json" for name in ("inbox", "outbox")}
        files["outbox"].unlink(missing_ok=True)
        files["inbox"].write_text(json.dumps(answer), encoding="utf-8")
        driver = self.reaper.resource / "Place.lua"
        driver.write_text(DRIVER.format(root=ROOT.as_posix(), **{k: v.as_posix() for k, v in files.items()}))
        self.reaper.run(driver)
        return dict(json.loads(files["outbox"].read_text(encoding="utf-8")))

    def act(self, name: str) -> None:
        """Run an action of the user's list."""
        self.reaper.run(ROOT / f"Stembridge_{name}.lua")

    # --- what is heard ---
    def keeps_outside(self, start_s: float, end_s: float) -> None:
        """Assert that what lies outside these times sounds as before, bit for bit."""
        now, start, end = self.heard(), self.frame(start_s), self.frame(end_s)
        assert np.array_equal(now[:, :start], self.heard_before[:, :start])
        assert np.array_equal(now[:, end:], self.heard_before[:, end:])

    def inside(self, start_s: float, end_s: float) -> Audio:
        return self.heard()[:, self.frame(start_s) : self.frame(end_s)]

    def undone(self, *names: str) -> None:
        """Assert that these are the undo steps, and that undoing them gives back the project byte for byte."""
        assert self.reaper.undo_names(self.project) == list(names)
        for _ in names:
            self.reaper.undo(self.project)
        assert dump(self.project) == self.before


def audio_of(take: dict[str, Any]) -> Audio:
    samples, _ = soundfile.read(take["file"], dtype="float32", always_2d=True)
    return np.ascontiguousarray(samples.T)


def made_by(take: Take) -> dict[str, Any]:
    """What a take remembers of how it was made."""
    return dict(json.loads(take.ext["stembridge"]))


def spans(track: Track) -> list[tuple[float, float]]:
    """Position and end of the items, in seconds."""
    return [(item.position, item.end) for item in track.items]


def active_name(item: Item) -> str:
    return item.takes[item.active].name
