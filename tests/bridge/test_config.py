"""One file and flags: a typo is named, a flag wins, nothing listens to the network by default."""

from __future__ import annotations

import json
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
    assert defaults.http.port == 9242
    assert not defaults.lan.enabled


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
        ("[acestep]\ndevice = 'gpu'\n", "acestep.device = 'gpu'.*mps or cpu"),
        ("[acestep]\ncompile = true\n", "acestep.compile"),
        ("[acestep]\nmemory = 'fp4'\n", "acestep.memory"),
        ("[acestep]\nitems_per_pass = 5\n", "acestep.items_per_pass"),
        ("[acestep]\ncheckpoint = ''\n", "acestep.checkpoint"),
        ("[acestep]\nlora = [{ scale = 1.0 }]\n", r"acestep\.lora\.0\.path"),
        ("[acestep]\nlora = [{ path = 'a', scale = nan }]\n", r"acestep\.lora\.0\.scale"),
        ("[acestep]\ncheckpont = 'xl-sft'\n", "did you mean acestep.checkpoint"),
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


def test_what_the_engine_is_told_is_plain_json_with_the_home_folder_spelt_out(tmp_path: Path) -> None:
    assert config.load(write(tmp_path, "")).engine_options == {
        "acestep": {
            "checkpoint": "xl-base",
            "models_dir": None,
            "device": "auto",
            "memory": "auto",
            "compile": "auto",
            "items_per_pass": 1,
            "lora": [],
        },
        "sketch": {
            "soundfont": None,
            "fill": True,
            "separator": "auto",
            "separator_model": "htdemucs",
            "separator_dir": None,
        },
    }
    text = (
        "[acestep]\ncheckpoint = '~/my model'\nmodels_dir = '~/models'\ndevice = 'cuda:1'\n"
        "lora = [{ path = '~/a.safetensors', scale = 0.5 }, { path = '/b' }]\n"
    )
    told = config.load(write(tmp_path, text)).engine_options["acestep"]
    home = Path.home()
    assert (told["checkpoint"], told["models_dir"]) == (str(home / "my model"), str(home / "models"))
    assert told["lora"] == [
        {"path": str(home / "a.safetensors"), "scale": 0.5},
        {"path": str(Path("/b")), "scale": 1.0},
    ]
    assert json.loads(json.dumps(told)) == told
    sketch = config.load(write(tmp_path, "[sketch]\nsoundfont = '~/piano.sf2'\n")).engine_options["sketch"]
    assert sketch["soundfont"] == str(home / "piano.sf2")
