"""From outside: crashes, kills, hostile packets, awkward folders. Nothing acknowledged is lost, nothing hangs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile
from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder

from tests.e2e.conftest import Project
from tests.support import daemon as daemons
from tests.support.daemon import JOB_S, Client, Daemon
from tests.support.hostile import HOSTILE

pytestmark = pytest.mark.e2e


@pytest.fixture
def patient_config(tmp_path: Path) -> Path:
    """A configuration whose engine works in many small steps, so that a test can interrupt it at any of them."""
    file = tmp_path / "stembridge.toml"
    file.write_text('[engine.plugins]\npatient = "tests.support.patient:Patient"\n', encoding="utf-8")
    return file


def begin(client: Client, project: Project, *options: object) -> str:
    """Ask for a job of the patient engine and wait until it works."""
    project.introduce(client, region=(project.bar_s(4), project.bar_s(6)))
    ack = client.ask("/stembridge/repaint", *options)
    assert ack.address == "/stembridge/ack", ack
    job_id = str(ack.args[0])
    client.wait_for(lambda m: m.address == "/stembridge/job/progress" and m.args[1] > 0.1, JOB_S)
    return job_id


def whole_stems(project: Project) -> list[Path]:
    """Every file with a final name, after checking that each is whole and none is half-written."""
    stems = sorted(project.folder.glob("stembridge/*/*.wav"))
    for stem in stems:
        assert soundfile.info(stem).frames > 0
    return stems


# --- kill -9 ----------------------------------------------------------------------------------------------------------
def test_a_job_survives_kill_minus_nine_of_the_daemon(data_dir: Path, project: Project, patient_config: Path) -> None:
    first = daemons.start(data_dir, "--config", str(patient_config), engine="patient")
    client = first.client()
    try:
        job_id = begin(client, project)
        orphans = first.workers()
        assert orphans
        first.kill()
        assert not psutil.wait_procs(orphans, timeout=10)[1]  # no engine is left holding the GPU
        assert whole_stems(project) == []
        with daemons.running(data_dir, "--config", str(patient_config), engine="patient") as second:
            listener = second.client()
            listener.tell("/stembridge/subscribe")
            assert listener.finish(job_id).address == "/stembridge/job/done"
        assert len(whole_stems(project)) == 1
    finally:
        daemons.stop(first)


def test_a_queued_job_survives_too_and_who_asked_hears_of_both_without_asking_again(
    data_dir: Path, project: Project, patient_config: Path
) -> None:
    first = daemons.start(data_dir, "--config", str(patient_config), engine="patient")
    client = first.client()
    try:
        running = begin(client, project, "id", "first")
        client.tell("/stembridge/repaint", "id", "second")
        first.kill()
        with daemons.running(data_dir, "--config", str(patient_config), engine="patient", osc_port=first.port):
            assert client.finish(running).address == "/stembridge/job/done"
            assert client.finish("second").address == "/stembridge/job/done"
    finally:
        daemons.stop(first)


def test_a_job_survives_kill_minus_nine_of_its_engine(data_dir: Path, project: Project, patient_config: Path) -> None:
    with daemons.running(data_dir, "--config", str(patient_config), engine="patient") as daemon:
        client = daemon.client()
        job_id = begin(client, project)
        (worker,) = daemon.workers()
        worker.kill()
        assert client.finish(job_id).address == "/stembridge/job/done"
        (fresh,) = daemon.workers()
        assert fresh.pid != worker.pid


def test_an_engine_that_dies_twice_fails_that_job_and_serves_the_next(
    data_dir: Path, project: Project, patient_config: Path
) -> None:
    with daemons.running(data_dir, "--config", str(patient_config), engine="patient") as daemon:
        client = daemon.client()
        job_id = begin(client, project)
        daemon.workers()[0].kill()
        client.wait_for(lambda m: m.address == "/stembridge/job/state" and m.args[1] == "running")
        client.wait_for(lambda m: m.address == "/stembridge/job/progress" and m.args[1] > 0.1, JOB_S)
        daemon.workers()[0].kill()
        error = client.wait_for(lambda m: m.address == "/stembridge/error")
        assert error.args[0] == "engine_crashed"
        assert error.args[3] == job_id
        client.tell("/stembridge/repaint", "id", "next")
        assert client.finish("next").address == "/stembridge/job/done"


# --- a clean end ------------------------------------------------------------------------------------------------------
def test_sigterm_in_the_middle_of_a_job_ends_cleanly_and_the_next_start_finishes_it(
    data_dir: Path, project: Project, patient_config: Path
) -> None:
    first = daemons.start(data_dir, "--config", str(patient_config), engine="patient")
    try:
        job_id = begin(first.client(), project)
        assert first.terminate() == 0
    finally:
        daemons.stop(first)
    with daemons.running(data_dir, "--config", str(patient_config), engine="patient") as second:
        listener = second.client()
        listener.tell("/stembridge/subscribe")
        assert listener.finish(job_id).address == "/stembridge/job/done"
    assert len(whole_stems(project)) == 1


def test_ctrl_c_ends_it_with_exit_code_zero(data_dir: Path) -> None:
    daemon = daemons.start(data_dir)
    try:
        daemon.process.send_signal(signal.SIGINT)
        assert daemon.process.wait(20) == 0
    finally:
        daemons.stop(daemon)


def test_cancel_is_answered_within_a_step_and_frees_the_engine(
    data_dir: Path, project: Project, patient_config: Path
) -> None:
    with daemons.running(data_dir, "--config", str(patient_config), engine="patient") as daemon:
        client = daemon.client()
        job_id = begin(client, project)
        client.tell("/stembridge/cancel", job_id)
        end = client.finish(job_id)
        assert end.args[:2] == [job_id, "cancelled"]
        assert whole_stems(project) == []
        client.tell("/stembridge/retry", job_id)
        assert client.finish(job_id).address == "/stembridge/job/done"


def test_two_daemons_on_one_port_are_a_clear_error(daemon: Daemon, tmp_path: Path) -> None:
    other = subprocess.run(
        daemons.command(tmp_path / "other", osc_port=daemon.port),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=daemons.ROOT,
        check=False,
    )
    assert other.returncode == 2
    assert other.stdout == ""
    assert other.stderr.count("\n") == 1
    assert str(daemon.port) in other.stderr


def test_two_daemons_on_one_data_folder_are_a_clear_error(daemon: Daemon, data_dir: Path) -> None:
    other = subprocess.run(
        daemons.command(data_dir), capture_output=True, text=True, timeout=60, cwd=daemons.ROOT, check=False
    )
    assert other.returncode == 2
    assert str(data_dir) in other.stderr


# --- hostile packets --------------------------------------------------------------------------------------------------
def _future() -> bytes:
    builder = OscBundleBuilder(2_000_000_000.0)  # in the year 2033
    message = OscMessageBuilder(address="/stembridge/ping").build()
    builder.add_content(message)
    return bytes(builder.build().dgram)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon that has to live through all of it."""
    with daemons.running(tmp_path_factory.mktemp("target") / "data") as running:
        yield running


@pytest.mark.parametrize("name", [*HOSTILE, "future time tag"])
def test_a_hostile_packet_neither_stops_nor_slows_the_daemon(target: Daemon, name: str) -> None:
    daemon, client = target, target.client()
    client.socket.sendto(HOSTILE[name] if name in HOSTILE else _future(), client.target)
    client.send("/stembridge/ping", name)
    pong = client.wait_for(lambda m: m.address == "/stembridge/pong")
    assert pong.args[3] == name
    assert daemon.process.poll() is None


@pytest.mark.slow
def test_a_flood_of_packets_leaves_the_daemon_answering(target: Daemon) -> None:
    flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    daemon, client = target, target.client()
    generator = np.random.Generator(np.random.PCG64(7))
    packets = [*HOSTILE.values(), *(bytes(generator.bytes(int(n))) for n in generator.integers(1, 400, 200))]
    for index in range(30_000):
        flood.sendto(packets[index % len(packets)], client.target)
        if index % 3000 == 0:
            client.send("/stembridge/ping", index)
            client.wait_for(lambda m: m.address == "/stembridge/pong", 20.0)
    flood.close()
    client.tell("/stembridge/tempo", 97.53)
    assert daemon.process.poll() is None


def test_a_bundle_with_a_time_tag_acts_when_due_and_in_its_own_order(daemon: Daemon, project: Project) -> None:
    client = daemon.client()
    project.introduce(client)
    builder = OscBundleBuilder(time.time() + 0.2)
    for message in (("/stembridge/region", 20.0, 21.0), ("/stembridge/repaint", "id", "on time")):
        inner = OscMessageBuilder(address=message[0])
        for arg in message[1:]:
            inner.add_arg(arg.replace(" ", "-") if isinstance(arg, str) else arg)
        builder.add_content(inner.build())
    client.tell("/stembridge/region", 8.0, 9.0)
    client.socket.sendto(builder.build().dgram, client.target)
    done = client.finish("on-time")
    (take,) = json.loads(Path(done.args[2]).read_text(encoding="utf-8"))["takes"]
    assert take["start_s"] == 20.0


def test_every_bad_packet_of_a_person_is_answered(target: Daemon) -> None:
    client = target.client()
    for _ in range(5):
        for address in ("/stembridge/pin?", "/stembridge/*", "/stembridge/[ab]", "/nowhere"):
            client.socket.sendto(OscMessageBuilder(address=address).build().dgram, client.target)
            assert client.receive().address == "/stembridge/error"


def test_retry_of_a_job_that_is_done_tells_its_story_again(target: Daemon, project: Project) -> None:
    client = target.client()
    project.introduce(client, region=(8.0, 9.0))
    client.tell("/stembridge/repaint", "id", "done")
    first = client.finish("done")
    client.tell("/stembridge/retry", "done")
    assert client.finish("done").args == first.args


def test_an_impatient_second_ctrl_c_does_not_break_the_clean_end(data_dir: Path) -> None:
    daemon = daemons.start(data_dir)
    try:
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            daemon.process.send_signal(name)
        assert daemon.process.wait(20) == 0
    finally:
        daemons.stop(daemon)


def test_reapers_own_addresses_reach_the_session_and_are_not_answered(daemon: Daemon) -> None:
    reaper, client = daemon.client(), daemon.client()
    for address, value in (
        ("/tempo/raw", 120.37),
        ("/loop/start/time", 8.0),
        ("/loop/end/time", 16.0),
        ("/play", 1.0),
        ("/track/1/volume", 0.5),
    ):
        builder = OscMessageBuilder(address=address)
        builder.add_arg(value, "f")
        reaper.socket.sendto(builder.build().dgram, reaper.target)
    client.tell("/stembridge/session")
    told = {m.args[0]: m.args[1:3] for m in client.heard if m.address == "/stembridge/session/state"}
    assert told["tempo"] == ["120.37", "reaper"]  # the number the user typed, not its 32-bit neighbour
    assert told["region"] == ["8.0 16.0", "reaper"]
    reaper.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        reaper.socket.recv(2048)


# --- folders ----------------------------------------------------------------------------------------------------------
def test_a_project_folder_deleted_while_the_job_runs_is_said_in_words(
    data_dir: Path, project: Project, patient_config: Path
) -> None:
    with daemons.running(data_dir, "--config", str(patient_config), engine="patient") as daemon:
        client = daemon.client()
        job_id = begin(client, project)
        project.folder.rename(project.folder.with_name("elsewhere"))
        error = client.wait_for(lambda m: m.address == "/stembridge/error", 30)
        assert error.args[0] in ("project_gone", "source_missing")
        assert error.args[3] == job_id
        project.folder.with_name("elsewhere").rename(project.folder)
        client.tell("/stembridge/retry", job_id)
        assert client.finish(job_id).address == "/stembridge/job/done"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a read-only folder needs root")
def test_a_read_only_project_is_said_in_words_and_left_as_it_was(daemon: Daemon, project: Project) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "none", str(project.folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no mount here: {mounted.stderr.strip()}")
    try:
        song = project.folder / "song.wav"
        noise = np.random.Generator(np.random.PCG64(1)).normal(0, 0.1, (48_000 * 20, 2)).astype("float32")
        soundfile.write(song, noise, 48_000)
        subprocess.run(["mount", "-o", "remount,ro", str(project.folder)], check=True)
        client = daemon.client()
        client.tell("/stembridge/project", str(project.folder))
        client.tell("/stembridge/source", "song.wav")
        client.tell("/stembridge/tempo", 120.0)
        client.tell("/stembridge/region", 8.0, 10.0)
        reply = client.ask("/stembridge/repaint")
        if reply.address == "/stembridge/ack":
            reply = client.wait_for(lambda m: m.address == "/stembridge/error", 30)
        assert reply.args[0] == "project_read_only"
        assert [path.name for path in project.folder.iterdir()] == ["song.wav"]
    finally:
        subprocess.run(["umount", "-l", str(project.folder)], check=True)


# --- redo and the command line ----------------------------------------------------------------------------------------
def cli(*words: str, data_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bridge.cli", words[0], "--data-dir", str(data_dir), *words[1:]],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=90,
        cwd=daemons.ROOT,
        check=False,
    )


def test_redo_gives_the_same_audio_bit_for_bit_from_the_recipe_in_the_stem(
    daemon: Daemon, project: Project, data_dir: Path, tmp_path: Path
) -> None:
    client = daemon.client()
    project.introduce(client, region=(project.bar_s(8), project.bar_s(12)))
    client.tell("/stembridge/repaint", "variations", 2, "id", "original")
    client.finish("original")
    stem = project.folder / "stembridge" / "original" / "repaint_bars-9-12_take-2.wav"
    redone = cli("redo", str(stem), data_dir=tmp_path / "another machine")
    assert redone.returncode == 0, redone.stderr
    assert "identical" in redone.stdout
    made = Path(redone.stdout.splitlines()[0])
    assert made != stem
    assert np.array_equal(soundfile.read(made, dtype="float32")[0], soundfile.read(stem, dtype="float32")[0])


def test_redo_refuses_a_source_that_has_changed(daemon: Daemon, project: Project, data_dir: Path) -> None:
    client = daemon.client()
    project.introduce(client, region=(project.bar_s(8), project.bar_s(9)))
    client.tell("/stembridge/repaint", "id", "original")
    done = client.finish("original")
    stem = next(Path(done.args[2]).parent.glob("*.wav"))
    audio, rate = soundfile.read(project.song)
    soundfile.write(project.song, audio * 0.5, rate, subtype="PCM_24")
    redone = cli("redo", str(stem), data_dir=data_dir)
    assert redone.returncode == 1
    assert "no longer the file" in redone.stderr


def test_send_prints_replies_and_its_exit_code_says_how_it_went(
    daemon: Daemon, project: Project, data_dir: Path
) -> None:
    assert cli("send", "/stembridge/ping", "x", data_dir=data_dir).stdout == "/stembridge/pong 0.1.0 sketch 1 x\n"
    refused = cli("send", "/stembridge/repaint", data_dir=data_dir)
    assert refused.returncode == 1
    assert refused.stdout.startswith("/stembridge/error missing_context ")
    project.introduce(daemon.client(), region=(project.bar_s(8), project.bar_s(9)))
    followed = cli("send", "--wait", "60", "/stembridge/repaint", "id", "by-hand", data_dir=data_dir)
    assert followed.returncode == 0, followed
    assert followed.stdout.splitlines()[0].startswith("/stembridge/ack by-hand repaint sketch ")
    assert followed.stdout.splitlines()[-1].startswith("/stembridge/job/done by-hand 1 ")
    listed = cli("jobs", "--json", data_dir=data_dir)
    assert [json.loads(line)["id"] for line in listed.stdout.splitlines()] == ["by-hand"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = str(unused.getsockname()[1])
        silent = cli("send", "--port", nobody, "--wait", "0.3", "/stembridge/ping", data_dir=data_dir)
    assert silent.returncode == 3


def test_the_manifest_and_the_file_carry_the_recipe_and_the_engines_name(target: Daemon, project: Project) -> None:
    client = target.client()
    project.introduce(client, region=(project.bar_s(8), project.bar_s(9)))
    client.tell("/stembridge/repaint", "id", "with-recipe", "seed", 11)
    done = client.finish("with-recipe")
    manifest: dict[str, Any] = json.loads(Path(done.args[2]).read_text(encoding="utf-8"))
    recipe = manifest["takes"][0]["recipe"]
    assert recipe["engine"] == "sketch"
    assert recipe["seed"] == 11
    assert recipe["source_sha256"]
    stem = Path(done.args[2]).parent / manifest["takes"][0]["file"]
    inside = stem.read_bytes()
    assert b"bext" in inside
    assert b"iXML" in inside
    assert b"stbr" in inside
