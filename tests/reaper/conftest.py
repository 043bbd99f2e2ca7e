"""A REAPER for the scripts, with the Lua of REAPER 5 and 6 and with that of 7."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.reascript.host import Reaper


@pytest.fixture(params=["5.3", "5.4"])
def reaper(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reaper]:
    host = Reaper(tmp_path / "REAPER", lua=request.param)
    yield host
    host.check()
