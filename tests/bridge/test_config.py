"""One file and flags: a typo is named, a flag wins, nothing listens to the network by default."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge import config
from bridge.config import ConfigError


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "stembridge.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_defaults_keep_the_network_out(tmp_path: Path) -> None:
    defaults = config.load(write(tmp_path, ""))
    assert defaults.osc.host == "127.0.0.1"
    assert defaults.discovery.interfaces == "lo"
    assert defaults.doors.http_port == "off"


def test_a_flag_wins_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "[osc]\nport = 9001\n[engine]\nname = 'sketch'\n")
    loaded = config.load(file, {"osc.port": 0, "engine.name": None})
    assert (loaded.osc.port, loaded.engine.name) == (0, "sketch")
    assert loaded.source == file


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[osc]\nprot = 1\n", "osc.port"),
        ("[ocs]\nport = 1\n", "ocs"),
        ("[osc]\nport = 70000\n", "70000"),
        ("[osc]\nport = 'x'\n", "osc.port"),
        ("[engine]\nstall_s = -1\n", "engine.stall_s"),
        ("[discovery]\ninterfaces = 'eth0'\n", "discovery.interfaces"),
        ("[osc\n", "TOML"),
    ],
)
def test_a_wrong_file_is_refused_naming_what_is_wrong(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        config.load(write(tmp_path, text))


def test_a_missing_file_that_was_named_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        config.load(tmp_path / "none.toml")


def test_the_data_folder_can_be_moved(tmp_path: Path) -> None:
    loaded = config.load(write(tmp_path, ""), {"folders.data_dir": tmp_path / "data"})
    assert loaded.data_dir == tmp_path / "data"
