"""From outside, over real UDP: a DAW says what it has, and exact stems come back into its project folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.e2e.conftest import Project
from tests.support import daemon as daemons
from tests.support.daemon import Client, Daemon

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One for the module, since starting takes longer than most of the jobs. Every test tells all that it counts on."""
    with daemons.running(tmp_path_factory.mktemp("data")) as running:
        yield running


def manifest_of(done: Any) -> dict[str, Any]:
    return json.loads(Path(done.args[2]).read_text(encoding="utf-8"))


def take_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("stembridge/*/*.wav"))


def run(client: Client, verb: str, *options: object) -> dict[str, Any]:
    ack = client.ask(f"/stembridge/{verb}", *options)
    assert ack.address == "/stembridge/ack", ack
    done = client.finish(str(ack.args[0]))
    assert done.address == "/stembridge/job/done", (done, client.heard)
    return manifest_of(done)


def test_a_repaint_is_exactly_the_region_and_its_edges_are_the_original(daemon: Daemon, project: Project) -> None:
    client = daemon.client()
    start_s, end_s = project.bar_s(8), project.bar_s(12)
    project.introduce(client, region=(start_s, end_s))
    manifest = run(client, "repaint", "variations", 2, "seed", 7, "prompt", "the same, calmer")

    first, after = round(start_s * project.rate), round(end_s * project.rate)
    original = project.original(first, after - first)
    takes = manifest["takes"]
    assert [take["frames"] for take in takes] == [after - first] * 2
    assert [take["start_frame"] for take in takes] == [first] * 2
    assert {take["seed"] for take in takes} == {7, 8}
    assert [take["rank"] for take in takes] == [1, 2]
    audio = []
    for take in takes:
        samples, rate = soundfile.read(take_path(project, take), dtype="float32", always_2d=True)
        assert rate == project.rate
        assert samples.shape == original.shape
        assert np.array_equal(samples[0], original[0])
        assert np.array_equal(samples[-1], original[-1])
        assert np.abs(samples - original).max() > 0.05  # made anew, not copied back
        audio.append(samples)
    assert np.abs(audio[0] - audio[1]).max() > 0.05  # two variations, not one twice


def take_path(project: Project, take: dict[str, Any]) -> Path:
    (found,) = project.folder.glob(f"stembridge/*/{Path(take['file']).name}")
    return found


def test_events_come_in_order_and_takes_before_done(daemon: Daemon, project: Project) -> None:
    client = daemon.client()
    project.introduce(client, region=(project.bar_s(4), project.bar_s(6)))
    client.heard.clear()
    run(client, "repaint", "variations", 2, "id", "in-order")
    addresses = [(m.address, m.args[1] if m.address.endswith("state") else None) for m in client.heard]
    states = [state for address, state in addresses if address == "/stembridge/job/state"]
    assert states == ["queued", "running", "done"] or states == ["running", "done"]
    names = [address for address, _ in addresses]
    assert names[0] == "/stembridge/ack"
    assert names.count("/stembridge/job/take") == 2
    assert names.index("/stembridge/job/take") < names.index("/stembridge/job/done")
    progress = [m.args[1] for m in client.heard if m.address == "/stembridge/job/progress"]
    assert progress == sorted(progress)
    assert progress
    assert progress[-1] == 1.0


def test_an_extension_goes_on_after_the_song_for_exactly_the_bars_asked(daemon: Daemon, project: Project) -> None:
    client = daemon.client()
    project.introduce(client)
    manifest = run(client, "extend", "bars", 4, "seed", 3)
    (take,) = manifest["takes"]
    start_s = project.frames / project.rate
    assert take["start_frame"] == project.frames
    assert take["start_s"] == pytest.approx(start_s, abs=1e-9)
    assert take["frames"] == pytest.approx(project.bar_s(4) * project.rate, abs=1)
    samples, _ = soundfile.read(take_path(project, take), dtype="float32", always_2d=True)
    assert len(samples) == take["frames"]
    assert np.sqrt(np.mean(samples**2)) > 0.01


def test_a_prepend_leads_into_the_start(daemon: Daemon, project: Project) -> None:
    client = daemon.client()
    project.introduce(client)
    client.tell("/stembridge/source", str(project.song), 20.0)  # the file begins at 20 s of project time
    manifest = run(client, "prepend", "seconds", 3.5)
    (take,) = manifest["takes"]
    assert take["start_frame"] == round(16.5 * project.rate)
    assert take["frames"] == round(20.0 * project.rate) - round(16.5 * project.rate)


@pytest.mark.parametrize("bpm", [97.53, 127.5])
def test_a_region_in_bars_of_a_fractional_tempo_is_exact(daemon: Daemon, project: Project, bpm: float) -> None:
    client = daemon.client()
    project.introduce(client)
    client.tell("/stembridge/tempo", bpm)
    client.tell("/stembridge/region/bars", 5, 2)
    manifest = run(client, "repaint")
    (take,) = manifest["takes"]
    bar_s = 4 * 60 / bpm
    assert take["start_frame"] == round(4 * bar_s * project.rate)
    assert take["frames"] == round(6 * bar_s * project.rate) - round(4 * bar_s * project.rate)
    assert "bars-5-6" in take["file"]


def test_several_regions_come_back_as_one_take_each(daemon: Daemon, project: Project) -> None:
    client = daemon.client()
    project.introduce(client)
    bars = [project.bar_s(b) for b in (4, 5, 9, 10)]
    client.tell("/stembridge/regions", *bars)
    manifest = run(client, "repaint", "seed", 1)
    assert sorted(t["start_frame"] for t in manifest["takes"]) == [
        round(bars[0] * project.rate),
        round(bars[2] * project.rate),
    ]


def test_nothing_of_the_users_is_touched(daemon: Daemon, project: Project) -> None:
    before = project.song.read_bytes()
    client = daemon.client()
    project.introduce(client, region=(project.bar_s(8), project.bar_s(9)))
    run(client, "repaint")
    assert project.song.read_bytes() == before
    written = {path.relative_to(project.folder).parts[0] for path in project.folder.rglob("*")}
    assert written == {"the song.wav", "stembridge"}
    assert not list(project.folder.rglob("*.part"))


def test_the_same_id_sent_again_is_the_same_job(daemon: Daemon, project: Project) -> None:
    client = daemon.client()
    project.introduce(client, region=(project.bar_s(8), project.bar_s(9)))
    first = run(client, "repaint", "id", "my-take")
    again = run(client, "repaint", "id", "my-take")
    assert again == first
    assert len(take_files(project.folder)) == 1
    other = client.ask("/stembridge/repaint", "id", "my-take", "variations", 3)
    assert other.address == "/stembridge/error"
    assert other.args[0] == "job_conflict"


@pytest.mark.parametrize(
    ("spoil", "verb", "code"),
    [
        ((), "complete", "engine_cannot"),
        ((), "extract", "engine_cannot"),
        (("/stembridge/region", 5000.0, 5008.0), "repaint", "region_outside"),
        (("/stembridge/region", 8.0, 8.0), None, "bad_argument"),
        (("/stembridge/source", "../../../etc/passwd"), None, "outside_project"),
        (("/stembridge/source", "missing.wav"), None, "source_missing"),
        (("/stembridge/project", "/no/such/folder"), None, "project_gone"),
        (("/stembridge/set/seed", -1), None, "bad_argument"),
        (("/stembridge/tempo", float("nan")), None, "bad_argument"),
        (("/stembridge/tempoo", 120.0), None, "unknown_address"),
    ],
)
def test_what_cannot_be_is_answered_in_words(
    daemon: Daemon, project: Project, spoil: tuple[Any, ...], verb: str | None, code: str
) -> None:
    client = daemon.client()
    project.introduce(client, region=(8.0, 10.0))
    reply = client.ask(*spoil) if spoil else None
    if verb:
        impossible = {"complete": ("tracks", "drums,vocals"), "extract": ("tracks", "brass")}
        reply = client.ask(f"/stembridge/{verb}", *impossible.get(verb, ()))
        if reply.address == "/stembridge/ack":  # found out while the job ran
            reply = client.wait_for(lambda m: m.address == "/stembridge/error")
    assert reply is not None
    assert reply.address == "/stembridge/error"
    assert reply.args[0] == code
    assert len(str(reply.args[1]).split()) > 4


def test_a_verb_before_anything_was_told_says_what_to_send(data_dir: Path) -> None:
    with daemons.running(data_dir) as fresh:
        reply = fresh.client().ask("/stembridge/repaint")
    assert reply.args[0] == "missing_context"
    assert "/stembridge/project" in reply.args[1]


def test_a_silent_song_is_refused(daemon: Daemon, project: Project) -> None:
    soundfile.write(project.folder / "silence.wav", np.zeros((project.rate * 30, 2)), project.rate)
    client = daemon.client()
    project.introduce(client, region=(8.0, 10.0))
    client.tell("/stembridge/source", "silence.wav")
    ack = client.ask("/stembridge/repaint")
    assert ack.address == "/stembridge/ack"
    error = client.wait_for(lambda m: m.address == "/stembridge/error")
    assert error.args[0] == "source_silent"
    assert error.args[3] == ack.args[0]
