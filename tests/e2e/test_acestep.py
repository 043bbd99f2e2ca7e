"""From outside: the real daemon, ACE-Step's real loading code on a tiny checkpoint, real UDP, real files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.e2e.conftest import Project
from tests.e2e.test_main_job import run, take_files
from tests.support import daemon as daemons
from tests.support import tiny_acestep
from tests.support.daemon import ROOT, Client, Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

STEPS = 4


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny tensors lose more to threads than they gain, tenfold on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder as `stembridge models pull` leaves it, with a tiny base and a tiny turbo in it."""
    folder = tmp_path_factory.mktemp("models")
    tiny_acestep.build(folder / "xl-base")
    tiny_acestep.build(folder / "xl-turbo", turbo=True)
    return folder


def write_config(file: Path, models: Path, *more: str) -> Path:
    lines = ["[acestep]", f"models_dir = {json.dumps(str(models))}", 'device = "cpu"', *more, ""]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    return write_config(tmp_path_factory.mktemp("config") / "stembridge.toml", models)


@pytest.fixture(scope="module")
def shared_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def daemon(shared_data: Path, config: Path, _one_thread: None) -> Iterator[Daemon]:
    """One daemon for the module: loading torch takes longer than any of the jobs. Every test opens its own project."""
    with daemons.running(shared_data, "--config", str(config), engine="auto") as running:
        yield running


def stembridge(*arguments: str, config: Path, data_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bridge.cli", *arguments, "--config", str(config), "--data-dir", str(data_dir)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=110,
        check=False,
    )


def told(client: Client, project: Project, **settings: object) -> None:
    project.introduce(client, region=(project.bar_s(4), project.bar_s(6)))
    for name, value in {"steps": STEPS, "seed": 7, "prompt": "warm analog bass", "variations": 1, **settings}.items():
        client.tell(f"/stembridge/set/{name}", value)


def test_auto_takes_acestep_where_its_weights_are_and_every_ack_says_so(daemon: Daemon, project: Project):
    client = daemon.client()
    told(client, project)
    assert daemon.ready["engine"] == "acestep"
    ack = client.ask("/stembridge/repaint", "id", "first")
    assert ack.args[:3] == ["first", "repaint", "acestep"]
    assert client.finish("first").address == "/stembridge/job/done"


def test_a_repaint_is_the_region_to_the_sample_and_its_recipe_reproduces_it(
    daemon: Daemon, project: Project, config: Path, tmp_path: Path
):
    client = daemon.client()
    told(client, project, variations=2)
    manifest = run(client, "repaint")
    first, after = round(project.bar_s(4) * project.rate), round(project.bar_s(6) * project.rate)
    original = project.original(first, after - first)
    for file in take_files(project.folder):
        audio = soundfile.read(file, dtype="float32", always_2d=True)[0]
        assert audio.shape == original.shape
        assert np.array_equal(audio[[0, -1]], original[[0, -1]])
    notes = manifest["takes"][0]["recipe"]["engine_notes"]
    assert (notes["checkpoint"], notes["memory"], notes["steps"]) == ("xl-base", "resident", STEPS)
    second = next(file for file in take_files(project.folder) if "take-2" in file.name)
    elsewhere = tmp_path / "another data folder"  # no cache, no history: only the recipe
    redone = stembridge("redo", str(second), config=config, data_dir=elsewhere)
    assert "identical" in redone.stdout, redone


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("complete", ("tracks", "drums,bass")),
        ("lego", ("track", "strings")),
        ("extract", ("track", "vocals")),
        ("cover", ()),
        ("extend", ("bars", 2)),
        ("prepend", ("bars", 1)),
        ("generate", ("duration", 3.0)),
    ],
)
def test_every_workflow_runs_through_the_daemon(daemon: Daemon, project: Project, verb: str, options: tuple[Any, ...]):
    client = daemon.client()
    told(client, project)
    manifest = run(client, verb, *options)
    tracks = [take["track"] for take in manifest["takes"]]
    assert tracks == {"complete": ["drums", "bass"], "lego": ["strings"], "extract": ["vocals"]}.get(verb, [None])
    for take in manifest["takes"]:
        (file,) = project.folder.glob(f"stembridge/*/{Path(take['file']).name}")
        assert soundfile.info(file).frames == take["frames"] > 0


def test_a_draft_is_turbos_and_the_chosen_one_is_committed_on_base(
    daemon: Daemon, project: Project, config: Path, tmp_path: Path
):
    client = daemon.client()
    told(client, project)
    drafted = run(client, "repaint", "quality", "draft")
    assert drafted["takes"][0]["recipe"]["engine_notes"]["checkpoint"] == "xl-turbo"
    (draft,) = take_files(project.folder)
    committed = stembridge("redo", "--commit", str(draft), config=config, data_dir=tmp_path / "elsewhere")
    assert committed.returncode == 0, committed
    made = Path(committed.stdout.strip().splitlines()[-1])
    manifest = json.loads((made.parent / "manifest.json").read_text(encoding="utf-8"))
    notes = manifest["takes"][0]["recipe"]["engine_notes"]
    assert (notes["checkpoint"], notes["steps"], manifest["takes"][0]["seed"]) == ("xl-base", STEPS, 7)


def test_a_cancelled_job_goes_on_where_it_was_when_it_is_retried(daemon: Daemon, project: Project, shared_data: Path):
    client = daemon.client()
    told(client, project, steps=300)
    client.tell("/stembridge/repaint", "id", "long")
    client.wait_for(lambda m: m.address == "/stembridge/job/progress" and m.args[1] > 0.3, 60)
    client.tell("/stembridge/cancel", "long")
    assert client.finish("long").args[1] == "cancelled"
    kept = list((shared_data / "cache" / "resume").iterdir())
    assert len(kept) == 1
    client.heard.clear()
    client.tell("/stembridge/retry", "long")
    assert client.finish("long").address == "/stembridge/job/done"
    steps = [m.args[1] for m in client.heard if m.address == "/stembridge/job/progress"]
    assert not any(0.11 < fraction < 0.28 for fraction in steps)  # the steps before the cancel were not made again
    assert not list((shared_data / "cache" / "resume").iterdir())


def test_what_the_checkpoint_cannot_do_is_said_before_anything_is_queued(
    data_dir: Path, project: Project, models: Path, tmp_path: Path
):
    config = write_config(tmp_path / "turbo.toml", models, 'checkpoint = "xl-turbo"')
    with daemons.running(data_dir, "--config", str(config), engine="acestep") as daemon:
        client = daemon.client()
        told(client, project)
        refusal = client.ask("/stembridge/complete", "tracks", "drums")
        assert refusal.args[0] == "engine_cannot"
        assert "xl-base" in refusal.args[1]
        accepted = client.ask("/stembridge/complete", "tracks", "drums", "checkpoint", "xl-base")
        assert accepted.args[1:3] == ["complete", "acestep"]
        misspelt = client.ask("/stembridge/repaint", "scheduler", '{"solvr": "heun"}')
        assert misspelt.args[0] == "engine_cannot"
        assert "solver" in misspelt.args[1]
        unknown = client.ask("/stembridge/repaint", "checkpoint", "xl-bass")
        assert unknown.args[0] == "engine_cannot"
        assert "xl-base" in unknown.args[1]


def test_a_damaged_checkpoint_is_named_with_the_command_that_repairs_it(data_dir: Path, models: Path, tmp_path: Path):
    broken = tmp_path / "broken"
    shutil.copytree(models, broken)
    weights = broken / "xl-base" / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    config = write_config(tmp_path / "broken.toml", broken)
    started = stembridge("serve", "--engine", "acestep", "--osc-port", "0", config=config, data_dir=data_dir)
    assert started.returncode == 2
    assert weights.name in started.stderr
    assert "stembridge models pull xl-base" in started.stderr
    with daemons.running(data_dir, "--config", str(config), engine="auto") as daemon:
        assert daemon.ready["engine"] == "sketch"
