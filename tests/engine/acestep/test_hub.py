"""Pulling, against a hub on 127.0.0.1 that is asked by the real huggingface_hub."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.acestep import checkpoints, hub
from engine.acestep.catalogue import CATALOGUE
from protocol.errors import EngineError, EngineMissing
from tests.support.hub import Hub, Repo
from tests.support.safetensors_files import write_safetensors

REPO = CATALOGUE["xl-turbo"].repo_id
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
MIB = 2**20


@pytest.fixture(scope="module")
def published(tiny_turbo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A turbo checkpoint whose transformer is larger than what huggingface_hub reads at once (10 MiB)."""
    folder = tmp_path_factory.mktemp("published") / "turbo"
    shutil.copytree(tiny_turbo, folder)
    write_safetensors(folder / WEIGHTS, {"a": 13 * MIB, "b": 12 * MIB})
    return folder


@pytest.fixture
def server(published: Path) -> Iterator[Hub]:
    with Hub({REPO: Repo.of(published)}) as running:
        yield running


@pytest.fixture(params=["cache", "folder"])
def models_dir(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path | None:
    """Both places that a pull may fill."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return None if request.param == "cache" else tmp_path / "models"


def pull(server: Hub, models_dir: Path | None, name: str = "xl-turbo") -> tuple[checkpoints.Checkpoint, str]:
    told: list[str] = []
    checkpoint = hub.pull(name, models_dir, told.append, endpoint=server.endpoint)
    return checkpoint, "\n".join(told)


def verified(models_dir: Path | None) -> checkpoints.Verification:
    return checkpoints.verify("xl-turbo", models_dir, lambda file, done, total: None)


def partials(root: Path) -> list[Path]:
    return list(root.rglob("*.incomplete"))


# --- what a pull brings -----------------------------------------------------------------------------------------------
def test_a_pull_brings_a_whole_checkpoint_and_nothing_else(
    server: Hub, models_dir: Path | None, published: Path, tmp_path: Path
) -> None:
    checkpoint, told = pull(server, models_dir)
    assert checkpoint.name == "xl-turbo"
    assert checkpoint.identity == checkpoints.find(str(published), None).identity
    assert (checkpoint.folder / WEIGHTS).read_bytes() == (published / WEIGHTS).read_bytes()
    fetched = {request.path for request in server.requests if "/resolve/" in request.path}
    assert not any(path.endswith((".bin", ".wav")) for path in fetched)
    assert f"licence: mit. Read it at {server.endpoint}/{REPO}" in told
    assert not partials(tmp_path)
    if models_dir is not None:
        assert checkpoint.folder == models_dir / "xl-turbo"


def test_every_file_that_was_pulled_can_be_verified_offline(server: Hub, models_dir: Path | None) -> None:
    pull(server, models_dir)
    asked = len(server.requests)
    result = verified(models_dir)
    assert (result.problems, result.unknown) == ((), ())
    assert result.compared == 12
    assert len(server.requests) == asked


def test_what_is_there_is_not_fetched_again(server: Hub, models_dir: Path | None) -> None:
    first, _ = pull(server, models_dir)
    server.requests.clear()
    second, told = pull(server, models_dir)
    assert second == first
    assert not server.transfers()
    assert "0 of 4 weight files fetched" in told


def test_a_repository_outside_the_catalogue_is_pulled_under_its_own_name(
    server: Hub, models_dir: Path | None, published: Path
) -> None:
    server.repos["someone/acestep-mine"] = Repo.of(published, licence=None)
    checkpoint, told = pull(server, models_dir, "someone/acestep-mine")
    assert checkpoint.name == "someone/acestep-mine"
    assert "licence: not stated" in told
    assert [found.name for found in checkpoints.installed(models_dir)] == ["someone/acestep-mine"]


# --- interruptions and damage -----------------------------------------------------------------------------------------
def test_a_connection_that_breaks_off_is_taken_up_where_it_ended(server: Hub, models_dir: Path | None) -> None:
    server.break_off[WEIGHTS] = 15 * MIB
    checkpoint, _ = pull(server, models_dir)
    assert [request.first for request in server.transfers(WEIGHTS)] == [None, 10 * MIB]
    assert verified(models_dir).problems == ()
    assert checkpoint.name == "xl-turbo"


def test_a_pull_that_failed_goes_on_where_it_stopped(server: Hub, models_dir: Path | None, tmp_path: Path) -> None:
    server.break_off[WEIGHTS] = 15 * MIB
    with pytest.raises(EngineError, match=r"answers with an error \(503\).*what was fetched is kept"):
        _pull_while_the_store_goes_down(server, models_dir)
    (partial,) = partials(tmp_path)
    assert partial.stat().st_size == 10 * MIB
    with pytest.raises(EngineMissing, match="stembridge models pull xl-turbo"):
        checkpoints.find("xl-turbo", models_dir)

    server.down.clear()
    server.requests.clear()
    _, told = pull(server, models_dir)
    assert [request.first for request in server.transfers(WEIGHTS)] == [10 * MIB]
    assert "going on after 0.01 GB" in told
    assert (verified(models_dir).problems, partials(tmp_path)) == ((), [])


def _pull_while_the_store_goes_down(server: Hub, models_dir: Path | None) -> None:
    class GoesDown(dict[str, int]):
        def pop(self, path: str, default: int | None = None) -> int | None:  # type: ignore[override]
            stop_after = super().pop(path, default)
            if stop_after is not None:
                server.down.add(path)
            return stop_after

    server.break_off = GoesDown(server.break_off)
    pull(server, models_dir)


def test_content_that_changes_on_the_way_never_gets_the_files_name(
    server: Hub, models_dir: Path | None, published: Path, tmp_path: Path
) -> None:
    content = bytearray((published / WEIGHTS).read_bytes())
    content[-1] ^= 1
    server.swapped[WEIGHTS] = bytes(content)
    with pytest.raises(EngineError, match=f"{WEIGHTS} came with other content"):
        pull(server, models_dir)
    assert not any(file.stat().st_size > 20 * MIB for file in tmp_path.rglob("*"))
    server.swapped.clear()
    pull(server, models_dir)
    assert verified(models_dir).problems == ()


@pytest.mark.parametrize("name", [WEIGHTS, "transformer/config.json"])
def test_damage_is_found_by_verify_and_repaired_by_pull(server: Hub, models_dir: Path | None, name: str) -> None:
    checkpoint, _ = pull(server, models_dir)
    file = (checkpoint.folder / name).resolve()
    content = bytearray(file.read_bytes())
    content[-3] = ord(" ") if name.endswith("json") else content[-3] ^ 1
    file.write_bytes(content)
    if name == WEIGHTS:
        (problem,) = verified(models_dir).problems
        assert str(checkpoint.folder / name) in problem
        assert "not have the content it was published with" in problem
        assert "`stembridge models pull xl-turbo`" in problem
    else:
        assert verified(models_dir).problems
    pull(server, models_dir)
    assert verified(models_dir).problems == ()


def test_a_new_version_fetches_only_what_changed_and_keeps_the_old_one_until_then(
    server: Hub, models_dir: Path | None, published: Path, tmp_path: Path
) -> None:
    old, _ = pull(server, models_dir)
    newer = tmp_path / "newer"
    shutil.copytree(published, newer)
    write_safetensors(newer / WEIGHTS, {"a": 13 * MIB, "b": 12 * MIB}, seed=1)
    server.repos[REPO] = Repo.of(newer)
    server.down.add(WEIGHTS)
    with pytest.raises(EngineError, match="503"):
        pull(server, models_dir)
    assert checkpoints.find("xl-turbo", models_dir) == old
    server.down.clear()
    server.requests.clear()
    new, _ = pull(server, models_dir)
    assert {request.path.rpartition("/store/")[2] for request in server.transfers()} == {f"{REPO}/{WEIGHTS}"}
    assert new.identity != old.identity
    assert verified(models_dir).problems == ()


# --- refusals ---------------------------------------------------------------------------------------------------------
def test_a_disk_that_is_too_small_is_refused_before_anything_is_fetched(
    server: Hub, models_dir: Path | None, tmp_path: Path
) -> None:
    server.repos[REPO].claimed_sizes[WEIGHTS] = 10**17
    with pytest.raises(EngineError, match=r"needs 100000000\.0 GB and 1 GB to spare, but .* has [\d.]+ GB free"):
        pull(server, models_dir)
    assert not any("/resolve/" in request.path for request in server.requests)
    assert not any(file.suffix in (".json", ".safetensors", ".incomplete") for file in tmp_path.rglob("*"))


@pytest.mark.parametrize("way", ["flag", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_nothing_is_asked(
    server: Hub, models_dir: Path | None, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way != "flag":
        monkeypatch.setenv(way, "1")
    with pytest.raises(EngineError, match=r"Offline: nothing is fetched\. Pull xl-turbo on a machine with a network"):
        hub.pull("xl-turbo", models_dir, str, offline=way == "flag", endpoint=server.endpoint)
    assert server.requests == []


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (401, "RepoNotFound", "does not exist on .*, or is private"),
        (404, "RepoNotFound", "does not exist on .*, or is private"),
        (403, "GatedRepo", "accept its conditions. Accept them at .*/ACE-Step/acestep-v15-xl-turbo-diffusers"),
        (401, "", r"refuses .* \(401\)"),
        (403, "", r"refuses .* \(403\)"),
        (500, "", r"answers with an error \(500\)"),
    ],
)
def test_a_hub_that_refuses_is_told_in_words(
    server: Hub, models_dir: Path | None, status: int, code: str, sentence: str
) -> None:
    server.refuse = (status, code)
    with pytest.raises(EngineError, match=sentence):
        pull(server, models_dir)


def test_no_network_is_told_in_words(models_dir: Path | None) -> None:
    with pytest.raises(EngineError, match=r"http://127.0.0.1:9 cannot be reached \(.*refused\)\. Check the network"):
        hub.pull("xl-base", models_dir, str, endpoint="http://127.0.0.1:9")


def test_a_repository_in_the_models_own_layout_is_refused(server: Hub, models_dir: Path | None) -> None:
    server.repos["ACE-Step/native"] = Repo({"config.json": b"{}", "model.safetensors": b""})
    with pytest.raises(EngineError, match="not in diffusers layout"):
        pull(server, models_dir, "ACE-Step/native")


def test_a_local_folder_cannot_be_pulled(server: Hub, models_dir: Path | None, tiny_base: Path) -> None:
    with pytest.raises(EngineMissing, match="a folder of this machine"):
        pull(server, models_dir, str(tiny_base))


def test_two_pulls_of_one_checkpoint_do_not_meet(server: Hub, models_dir: Path | None, tmp_path: Path) -> None:
    import filelock

    pull(server, models_dir)
    (lock,) = tmp_path.rglob("stembridge.lock")
    with filelock.FileLock(lock), pytest.raises(EngineError, match="xl-turbo is being pulled already"):
        pull(server, models_dir)


def test_a_full_or_locked_disk_is_told_in_words() -> None:
    def words(error: Exception) -> str:
        with pytest.raises(EngineError) as caught, hub._in_words("a/b", "https://hub"):
            raise error
        return caught.value.sentence

    assert (
        words(OSError(errno.ENOSPC, "No space"))
        == "The disk is full. Make room and pull again: what was fetched is kept."
    )
    assert "/models may not be written" in words(PermissionError(errno.EACCES, "Permission denied", "/models"))
    with pytest.raises(ZeroDivisionError), hub._in_words("a/b", "https://hub"):  # a mistake of ours stays one
        _ = 1 / 0
