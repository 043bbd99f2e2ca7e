"""What a live run keeps in the project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from bridge import atomic
from bridge.live.files import keep_audio, read_audio
from protocol.errors import StembridgeError
from protocol.job import ProjectRef

RATE = 8_000


def project(folder: Path) -> ProjectRef:
    return ProjectRef(folder=str(folder), media_folder=str(folder), sample_rate=RATE)


@pytest.mark.parametrize("peak", [0.5, 3.0])
def test_what_is_kept_is_read_as_it_was(tmp_path: Path, peak: float) -> None:
    audio = (np.random.default_rng(1).uniform(-peak, peak, (2, RATE))).astype(np.float32)
    kept = keep_audio(audio, RATE, project(tmp_path), "live-x")
    assert np.abs(read_audio(kept, RATE) - audio).max() <= 2.0**-23


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_is_told_as_such_and_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def onto_a_full_disk(_path: Path, fill: Callable[[BinaryIO], object]) -> None:
        with Path("/dev/full").open("wb", buffering=0) as file:
            fill(file)

    monkeypatch.setattr(atomic, "write_synced", onto_a_full_disk)
    with pytest.raises(StembridgeError, match="full"):
        keep_audio(np.zeros((2, RATE), np.float32), RATE, project(tmp_path), "live-x")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
