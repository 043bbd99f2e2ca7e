"""`stembridge models` as its user runs it: the installed program, a hub on 127.0.0.1, an empty home."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.cli import main
from engine.acestep.catalogue import CATALOGUE
from tests.support import tiny_acestep
from tests.support.hub import Hub, Repo

REPO = CATALOGUE["xl-base"].repo_id


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_acestep.build(tmp_path_factory.mktemp("published") / "base")


@pytest.fixture
def server(published: Path) -> Iterator[Hub]:
    with Hub({REPO: Repo.of(published)}) as running:
        yield running


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration that keeps models in `tmp_path`/models."""
    file = tmp_path / "stembridge.toml"
    file.write_text(f"[acestep]\nmodels_dir = {json.dumps(str(tmp_path / 'models'))}\n")
    return file


def run(arguments: list[str], tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    return subprocess.run(
        [sys.executable, "-m", "bridge.cli", "models", *arguments],
        env={**kept, "HF_HOME": str(tmp_path / "hf"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_checkpoint_is_pulled_listed_found_and_verified(server: Hub, config: Path, tmp_path: Path) -> None:
    where = ["--config", str(config)]
    done = run(["pull", "xl-base", *where], tmp_path, HF_ENDPOINT=server.endpoint)
    assert (done.returncode, done.stderr) == (0, "")  # no bar where nobody looks
    assert f"licence: mit. Read it at {server.endpoint}/{REPO}" in done.stdout
    folder = tmp_path / "models" / "xl-base"
    assert done.stdout.splitlines()[-1].endswith(str(folder))

    assert run(["path", "xl-base", *where], tmp_path).stdout == f"{folder}\n"
    verified = run(["verify", "xl-base", *where], tmp_path)
    assert (verified.returncode, verified.stderr) == (0, "")
    assert "16 files have the content they were published with." in verified.stdout
    rows = [json.loads(line) for line in run(["list", "--json", *where], tmp_path).stdout.splitlines()]
    assert [row["name"] for row in rows if row["installed"]] == ["xl-base"]
    assert rows[0]["folder"] == str(folder)


def test_a_pull_without_a_network_is_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    done = run(["pull", "xl-base"], tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("stembridge: http://127.0.0.1:9 cannot be reached (")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("offline", [["--offline"], []])
def test_offline_is_one_sentence_and_exit_code_1(server: Hub, tmp_path: Path, offline: list[str]) -> None:
    environment = {} if offline else {"HF_HUB_OFFLINE": "1"}
    done = run(["pull", "xl-base", *offline], tmp_path, HF_ENDPOINT=server.endpoint, **environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("stembridge: Offline: nothing is fetched.")
    assert not server.requests


WITHOUT = """
import importlib.util, sys
from importlib.machinery import PathFinder
class Missing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in ("torch", "diffusers", "transformers", "huggingface_hub", "safetensors"):
            return None
        return PathFinder.find_spec(name, path, target)
sys.meta_path = [Missing if finder is PathFinder else finder for finder in sys.meta_path]
from bridge.cli import main
sys.exit(main(["models", *sys.argv[1:]]))
"""


@pytest.mark.parametrize(
    ("action", "code", "told"),
    [
        (["list"], 0, "xl-turbo"),
        (["path", "mine"], 0, "mine"),
        (["verify", "mine"], 0, "mine is complete"),
        (["pull", "xl-base"], 2, "Install it with: pip install 'stembridge[acestep]'"),
    ],
)
def test_only_a_pull_needs_more_than_stembridge_brings(
    published: Path, tmp_path: Path, action: list[str], code: int, told: str
) -> None:
    shutil.copytree(published, tmp_path / "mine")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *action, "--models-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert told in done.stdout + done.stderr


# --- in this process: what is printed ---------------------------------------------------------------------------------
def shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(["models", *arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_list_shows_the_catalogue_and_what_else_is_there(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(published, tmp_path / "mine")
    shutil.copytree(published, tmp_path / "base")
    (tmp_path / "base" / "vae" / "config.json").unlink()
    code, out, _ = shown(["list", "--models-dir", str(tmp_path)], capsys)
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert code == 0
    assert "* no " in " ".join(lines["xl-base"].split())
    assert "11.5 GB" in lines["xl-base"]
    assert "check the card" in lines["xl-base"]
    assert lines["base"].split()[1] == "incomplete"
    assert lines["mine"].split()[1] == "yes"
    assert str(tmp_path) in out


def test_an_incomplete_checkpoint_says_in_json_what_it_lacks(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(published, tmp_path / "base")
    (tmp_path / "base" / "vae" / "config.json").unlink()
    _, out, _ = shown(["list", "--json", "--models-dir", str(tmp_path)], capsys)
    rows = {row["name"]: row for row in map(json.loads, out.splitlines())}
    assert "stembridge models pull base" in rows["base"]["problem"]
    assert (rows["base"]["installed"], rows["xl-base"]["problem"]) == (False, None)
    assert (rows["xl-turbo"]["steps"], rows["xl-turbo"]["shift"], rows["xl-base"]["guidance"]) == (8, 3.0, 7.0)


def test_verify_prints_every_problem_and_ends_with_1(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(published, tmp_path / "xl-base"))
    (folder / "vae" / "config.json").unlink()
    (folder / "transformer" / "config.json").write_text("{")
    code, out, _ = shown(["verify", "xl-base", "--models-dir", str(tmp_path)], capsys)
    assert code == 1
    assert len(out.splitlines()) == 2
    assert all("`stembridge models pull xl-base`" in line for line in out.splitlines())


def test_what_is_not_installed_has_no_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = shown(["path", "xl-base", "--models-dir", str(tmp_path)], capsys)
    assert (code, out) == (2, "")
    assert "`stembridge models pull xl-base` fetches it (11.5 GB)." in err
