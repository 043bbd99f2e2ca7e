"""Which engine a daemon takes at its start, and what it says about it; the real daemon, without any weights."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import daemon


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))


def test_auto_serves_with_sketch_and_logs_why_not_with_acestep(tmp_path: Path) -> None:
    with daemon.running(tmp_path / "data", engine="auto") as running:
        assert running.ready["engine"] == "sketch"
        assert running.client().ask("/stembridge/project", str(tmp_path)).address == "/stembridge/ack"
        client = running.client()
        client.tell("/stembridge/project", str(tmp_path))
        refused = client.ask("/stembridge/generate", "engine", "acestep")
    assert refused.args[0] == "engine_missing"
    assert "stembridge models pull xl-base" in refused.args[1]
    log = (tmp_path / "data" / "logs" / "daemon.log").read_text(encoding="utf-8")
    assert "engine auto: sketch. The checkpoint xl-base is not installed." in log


def test_acestep_without_its_weights_is_exit_code_2_with_the_command_that_brings_them(tmp_path: Path) -> None:
    started = subprocess.run(
        daemon.command(tmp_path / "data", engine="acestep"), cwd=daemon.ROOT, capture_output=True, text=True, timeout=60
    )
    assert started.returncode == 2
    assert started.stdout == ""
    assert "`stembridge models pull xl-base`" in started.stderr
    assert len(started.stderr.splitlines()) == 1
