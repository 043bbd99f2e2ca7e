"""From outside, with files only: a REAPER's requests to the real daemon, killed in between, answered exactly once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.e2e.conftest import Project
from tests.support import daemon as daemons
from tests.support.daemon import Daemon
from tests.support.mailbox import OTHER_INSTANCE, Json, Script, request

pytestmark = pytest.mark.e2e


@pytest.fixture
def script(tmp_path: Path, data_dir: Path) -> Script:
    """A registered mailbox, in a folder whose name is not ASCII."""
    root = tmp_path / "REAPER ü" / "Stembridge" / "mailbox"
    root.mkdir(parents=True)
    data_dir.mkdir()
    (data_dir / "reaper.json").write_text(json.dumps({"mailboxes": [str(root)]}), encoding="utf-8")
    return Script(root)


@pytest.fixture
def daemon(script: Script, data_dir: Path) -> Iterator[Daemon]:
    with daemons.running(data_dir) as running:
        script.wait((script.root / "audio").is_dir)
        yield running


def asked(project: Project, bars: tuple[int, int] = (8, 12), **changes: Any) -> Json:
    """A repaint of these bars (from 0) of the project's song, whose audio was rendered from 2 s on."""
    rpp = project.folder / "song.rpp"
    rpp.write_text("<REAPER_PROJECT 0.1\n  SAMPLERATE 48000 1 0\n>\n", encoding="utf-8")
    first, after = (round(project.bar_s(bar) * project.rate) for bar in bars)
    made = request(
        project={"file": str(rpp), "media": str(project.folder), "sample_rate": project.rate},
        regions=[{"start_frame": first, "end_frame": after}],
        tempo=[{"time": 0.0, "bpm": project.bpm, "num": 4, "den": 4, "linear": False}],
        checks={"start_qn": 4.0 * bars[0], "end_qn": 4.0 * bars[1], "start_bar": bars[0] + 1, "start_beat": 0.0},
        key=project.key,
    )
    start = 2 * project.rate
    made["source"] |= {"start_frame": start, "frames": project.frames - start}
    return {**made, **changes}


def leave_audio(script: Script, project: Project, content: Json) -> Json:
    start, frames = content["source"]["start_frame"], content["source"]["frames"]
    script.audio(content["id"], project.original(start, frames), project.rate)
    return content


def post(script: Script, project: Project, **changes: Any) -> str:
    return script.post(leave_audio(script, project, asked(project, **changes)))


def test_a_repaint_by_files_alone_is_exactly_the_region(daemon: Daemon, script: Script, project: Project) -> None:
    content = leave_audio(script, project, asked(project, settings={"seed": 7, "variations": 2, "prompt": "calmer"}))
    done = script.final(script.post(content))
    region = content["regions"][0]
    assert (done["state"], done["error"], done["warnings"]) == ("done", None, [])
    assert sorted(take["seed"] for take in done["takes"]) == [7, 8]
    for take in done["takes"]:
        assert take["start_frame"] == region["start_frame"]
        assert take["frames"] == region["end_frame"] - region["start_frame"]
        audio, rate = soundfile.read(take["file"], dtype="float32", always_2d=True)
        assert (len(audio), rate) == (take["frames"], project.rate)
        original = project.original(take["start_frame"], take["frames"])
        np.testing.assert_allclose(audio[0], original[0], atol=1e-4)
        np.testing.assert_allclose(audio[-1], original[-1], atol=1e-4)
    kept = soundfile.read(done["source"]["file"], dtype="float32", always_2d=True)[0]
    np.testing.assert_array_equal(kept, project.original(2 * project.rate, project.frames - 2 * project.rate))
    assert Path(done["source"]["file"]).parent == project.folder / "stembridge" / "sources"
    assert list(script.folder("audio").iterdir()) == []
    again = script.final(script.post(asked(project, source=done["source"], settings={"seed": 7})))
    same = next(take for take in done["takes"] if take["seed"] == 7)
    np.testing.assert_array_equal(soundfile.read(again["takes"][0]["file"])[0], soundfile.read(same["file"])[0])


def test_osc_clients_see_what_reaper_told(daemon: Daemon, script: Script, project: Project) -> None:
    script.final(post(script, project))
    client = daemon.client()
    client.send("/stembridge/session")
    client.wait_for(lambda m: m.address == "/stembridge/ack")
    told = {m.args[0]: (m.args[1], m.args[2]) for m in client.heard if m.address == "/stembridge/session/state"}
    assert told["key"] == (project.key, "reaper-script:1f2e3d4c")
    assert told["project"][1] == "reaper-script:1f2e3d4c"


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_nothing_and_doubles_nothing(
    script: Script, project: Project, data_dir: Path, tmp_path: Path
) -> None:
    config = tmp_path / "stembridge.toml"
    config.write_text("[engine.plugins]\npatient = 'tests.support.patient:Patient'\n")
    (script.root / "requests").mkdir()
    (script.root / "audio").mkdir()
    options = ("--config", str(config))
    with daemons.running(data_dir, *options, engine="patient") as first:
        working, waiting = post(script, project), post(script, project, settings={"seed": 8})
        script.wait(lambda: script.state(working) == "running")
        script.wait(lambda: script.state(waiting) == "queued")
        first.kill()
    unseen = post(script, project, settings={"seed": 9})
    with suppress(FileNotFoundError):  # as if killed before it was moved aside, which may be what happened
        script.request_file(waiting, "taken").replace(script.request_file(waiting))
    with daemons.running(data_dir, *options, engine="patient") as second:
        for job in (working, waiting):
            assert script.final(job)["state"] == "done"
        script.wait(lambda: script.state(unseen) == "running")
        assert script.claim(working)["takes"]
        second.kill()
    script.finish(working)
    with daemons.running(data_dir, *options, engine="patient"):
        assert script.final(unseen)["state"] == "done"
        script.wait(lambda: not script.request_file(working, "taken").exists())
    assert script.answer(working) is None
    folders = sorted(path.name for path in (project.folder / "stembridge").iterdir() if path.name != "sources")
    assert folders == sorted([working, waiting, unseen])
    assert all(len(list((project.folder / "stembridge" / job).glob("*.wav"))) == 1 for job in folders)


def test_two_reapers_a_cancel_and_a_refusal_at_once(daemon: Daemon, script: Script, project: Project) -> None:
    other = Script(script.root, OTHER_INSTANCE)
    jobs = [post(one, project, settings={"seed": seed}) for seed, one in ((1, script), (2, other), (3, script))]
    cancel = script.post(asked(project, kind="cancel", job=jobs[2], source=None, verb=None))
    refused = other.post(asked(project, protocol=9))
    assert script.final(jobs[0])["state"] == "done"
    assert other.final(jobs[1])["instance"] == OTHER_INSTANCE
    assert script.final(cancel)["state"] == "done"
    assert script.final(jobs[2])["state"] == "cancelled"
    assert other.final(refused)["error"]["code"] == "version_mismatch"


def test_a_configured_mailbox_and_a_connection_check(tmp_path: Path, data_dir: Path) -> None:
    root, config = tmp_path / "mailbox", tmp_path / "stembridge.toml"
    root.mkdir()
    config.write_text(f"[reaper]\nmailboxes = [{str(root)!r}]\nosc_port = 'off'\n", encoding="utf-8")
    script = Script(root)
    with daemons.running(data_dir, "--config", str(config)) as running:
        script.wait((root / "audio").is_dir)
        told = script.final(script.post(request(kind="hello")))
        assert told["hello"]["version"] == running.ready["version"]
        assert (told["hello"]["engine"], told["hello"]["osc"]) == ("sketch", "off")
    assert (root / "requests").is_dir()
