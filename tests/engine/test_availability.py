"""Whether an engine can run here: cheap to ask, true, and with the way out in the answer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from engine import availability, registry
from engine.availability import has_gpu, why_not
from engine.registry import EngineSpec, resolve
from protocol.errors import EngineMissing
from tests.support import tiny_acestep


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_acestep.build(tmp_path_factory.mktemp("models") / "tiny-base")


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "has_gpu", lambda: False)


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver, and a torch that can use it; what this machine has is neither."""
    monkeypatch.setattr(availability, "has_gpu", lambda: True)
    monkeypatch.setattr(availability, "_torch_is_for_cpu", lambda: False)


def on_cpu(checkpoint: Path) -> Mapping[str, Any]:
    return {"checkpoint": str(checkpoint), "device": "cpu"}


@pytest.mark.skipif("+cpu" not in metadata.version("torch"), reason="this torch can use a GPU")
def test_a_torch_without_gpu_support_is_named_though_the_driver_is_there(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path
) -> None:
    monkeypatch.setattr(availability, "has_gpu", lambda: True)
    told = why_not("acestep", {"checkpoint": checkpoint.name, "models_dir": str(checkpoint.parent)})
    assert told is not None
    assert "built without GPU support" in told
    assert why_not("acestep", on_cpu(checkpoint)) is None


def test_only_acestep_needs_anything() -> None:
    assert why_not("sketch", {}) is None
    assert why_not("mine", {}) is None


@pytest.mark.usefixtures("without_gpu")
def test_all_that_is_missing_is_told_at_once_with_what_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(availability, "LIBRARIES", ("json", "no_such_torch", "no_such_diffusers"))
    lack = why_not("acestep", {"models_dir": str(tmp_path)})
    assert lack is not None
    assert "needs no_such_torch, no_such_diffusers, not installed here: pip install 'stembridge[acestep]'" in lack
    assert "stembridge models pull xl-base" in lack
    assert 'set device = "cpu" under [acestep]' in lack


@pytest.mark.usefixtures("without_gpu")
def test_without_a_gpu_it_runs_only_where_the_user_insists_on_the_cpu(checkpoint: Path) -> None:
    assert why_not("acestep", on_cpu(checkpoint)) is None
    for device in ("auto", "cuda", "cuda:1", "mps"):
        assert "no GPU" in (why_not("acestep", {**on_cpu(checkpoint), "device": device}) or "")


@pytest.mark.usefixtures("with_gpu")
def test_with_a_gpu_and_its_files_nothing_is_missing(checkpoint: Path) -> None:
    assert why_not("acestep", {"checkpoint": checkpoint.name, "models_dir": str(checkpoint.parent)}) is None


@pytest.mark.usefixtures("with_gpu")
def test_a_checkpoint_that_is_not_whole_is_missing_too(tmp_path: Path) -> None:
    broken = tiny_acestep.build(tmp_path / "broken")
    (weights,) = (broken / "vae").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    assert weights.name in (why_not("acestep", {"checkpoint": str(broken)}) or "")


def test_asking_imports_no_library_of_the_engines() -> None:
    code = (
        "import sys; from engine.availability import why_not; why_not('acestep', {}); "
        "print([name for name in ('torch', 'diffusers', 'transformers', 'numpy') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.skipif(sys.platform != "linux", reason="what drivers leave on Linux")
def test_a_gpu_is_seen_by_what_its_driver_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(availability, "_DRIVER_FILES", (str(tmp_path / "kfd"),))
    assert not has_gpu()
    (tmp_path / "kfd").touch()
    assert has_gpu()
    (tmp_path / "kfd").unlink()
    (tmp_path / "nvidia-smi").touch(mode=0o755)
    assert has_gpu()


def test_an_apple_computer_has_one_if_it_is_not_an_intel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability.sys, "platform", "darwin")
    monkeypatch.setattr(availability.platform, "machine", lambda: "arm64")
    assert has_gpu()
    monkeypatch.setattr(availability.platform, "machine", lambda: "x86_64")
    assert not has_gpu()


# --- what the registry makes of it ------------------------------------------------------------------------------------
@pytest.mark.usefixtures("without_gpu")
def test_auto_takes_acestep_where_all_is_there_and_sketch_where_not(checkpoint: Path, tmp_path: Path) -> None:
    options = on_cpu(checkpoint)
    assert resolve("auto", options={"acestep": options}) == EngineSpec("acestep", registry.BUILT_IN["acestep"], options)
    assert resolve("auto", options={"acestep": {"models_dir": str(tmp_path)}}) == resolve("sketch")


@pytest.mark.usefixtures("without_gpu")
def test_acestep_by_name_is_refused_with_what_it_lacks(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineMissing, match="stembridge models pull xl-base"):
        resolve("acestep", options={"acestep": {"models_dir": str(tmp_path), "device": "cpu"}})
    with pytest.raises(EngineMissing, match="no GPU"):
        resolve("acestep", options={"acestep": {"checkpoint": str(checkpoint)}})
