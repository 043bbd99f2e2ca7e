"""From outside: with `[judge] page = true` every finished job has its page beside its stems."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Project
from tests.support import daemon as daemons

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_every_job_gets_a_page_if_the_configuration_says_so(tmp_path: Path, project: Project) -> None:
    config = tmp_path / "stembridge.toml"
    config.write_text("[judge]\npage = true\n", encoding="utf-8")
    with daemons.running(tmp_path / "data", "--config", str(config)) as daemon:
        client = daemon.client()
        project.introduce(client, region=(project.bar_s(8), project.bar_s(10)))
        ack = client.ask("/stembridge/repaint", "seed", 1)
        manifest = Path(client.finish(str(ack.args[0])).args[2])
        page, deadline = manifest.with_name("report.html"), time.monotonic() + 60
        while not page.exists() and time.monotonic() < deadline:
            client.send("/stembridge/ping")  # it answers meanwhile
            client.wait_for(lambda message: message.address == "/stembridge/pong")
        assert page.exists()
