"""What the tests of the ACE-Step engine share: one tiny checkpoint on disk, built once, and its stock pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import tiny_acestep


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, and the machine has few cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny base checkpoint. Copy it before changing anything in it."""
    return tiny_acestep.build(tmp_path_factory.mktemp("models") / "tiny-base")


@pytest.fixture(scope="session")
def tiny_turbo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny turbo checkpoint (no audio tokenizer)."""
    return tiny_acestep.build(tmp_path_factory.mktemp("models") / "tiny-turbo", turbo=True)


@pytest.fixture(scope="session")
def stock() -> Any:
    """The stock pipeline with the very weights of `tiny_base`; treat it as read-only."""
    return tiny_acestep.pipeline()
