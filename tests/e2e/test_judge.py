"""From outside: takes under the user's threshold are made again by the daemon, and judged and redone afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Project
from tests.support.daemon import ROOT, Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def stembridge(*arguments: object, data_dir: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bridge.cli", *map(str, arguments), "--data-dir", str(data_dir)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def manifest_of(done: Any) -> Path:
    assert done.address == "/stembridge/job/done", done
    return Path(done.args[2])


def test_takes_under_the_threshold_are_made_again_and_each_can_be_judged_and_redone(
    daemon: Daemon, project: Project, data_dir: Path
) -> None:
    client = daemon.client()
    project.introduce(client, region=(project.bar_s(8), project.bar_s(10)))
    client.tell("/stembridge/set/min_score", 100.0)
    client.tell("/stembridge/set/strength", 0.0)
    client.heard.clear()
    ack = client.ask("/stembridge/repaint", "variations", 2, "seed", 7, "rerolls", 2, "id", "again")
    assert ack.address == "/stembridge/ack", ack
    manifest = manifest_of(client.finish("again"))
    progress = [m.args[1] for m in client.heard if m.address == "/stembridge/job/progress"]
    assert progress == sorted(progress)
    takes = json.loads(manifest.read_text(encoding="utf-8"))["takes"]
    assert sorted(take["variation"] for take in takes) == [1, 2]
    for take in takes:
        rolls = take["recipe"]["engine_notes"]["rolls"]
        assert {"seed": take["seed"], "score": take["score"]} in rolls
        assert {roll["seed"] for roll in rolls} <= {6 + take["variation"] + 2 * k for k in range(3)}
        assert take["score"] == max(roll["score"] for roll in rolls)

    stems = [manifest.parent / take["file"] for take in takes]
    judged = json.loads(stembridge("judge", *stems, "--against", project.song, "--json", data_dir=data_dir))["files"]
    assert {one["file"]: one["score"] for one in judged} == {
        str(stem): take["score"] for stem, take in zip(stems, takes, strict=True)
    }
    assert stembridge("judge", "again", data_dir=data_dir).splitlines()[-1] == str(manifest.with_name("report.html"))

    told = stembridge("redo", stems[0], data_dir=data_dir).splitlines()
    assert told[-1].startswith("identical")
    redone = json.loads((Path(told[-2]).parent / "manifest.json").read_text(encoding="utf-8"))["takes"][0]
    assert "rolls" not in redone["recipe"]["engine_notes"], "nothing is rolled again"
