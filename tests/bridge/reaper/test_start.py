"""The command in start.json starts this very installation, from any folder, through no shell."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import __version__
from bridge.reaper.start import CannotQuote, start_command, start_file

ARGUMENTS = ["serve", "--data-dir", "/Users/Jörg/My Songs/data"]


def test_on_windows_the_python_without_a_console_is_taken_if_there_is_one() -> None:
    python = r"C:\Program Files\Stembridge\Scripts\python.exe"
    windowless = r"C:\Program Files\Stembridge\Scripts\pythonw.exe"
    with_it = start_command(python, ["serve", "--data-dir", "D:\\My Songs\\"], "win32", lambda path: path == windowless)
    assert with_it == rf'"{windowless}" -P -m bridge.cli serve --data-dir "D:\My Songs\\"'
    assert start_command(python, ["serve"], "win32", lambda _: False) == f'"{python}" -P -m bridge.cli serve'


@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_elsewhere_every_word_with_a_blank_is_quoted(system: str) -> None:
    line = start_command("/opt/my python/bin/python", ARGUMENTS, system, lambda _: True)
    assert shlex.split(line) == ["/opt/my python/bin/python", "-P", "-m", "bridge.cli", *ARGUMENTS]


@given(st.text(st.characters(exclude_characters='"\\\0\n\r', exclude_categories=("Cs",)), min_size=1))
def test_whatever_a_folder_is_called_it_arrives_as_one_word(folder: str) -> None:
    line = start_command("/usr/bin/python3", ["serve", "--data-dir", folder], "linux", lambda _: True)
    assert shlex.split(line)[-1] == folder


def test_a_quotation_mark_in_a_path_is_refused_rather_than_guessed_at() -> None:
    with pytest.raises(CannotQuote, match="rename that folder"):
        start_command('/home/the "great"/python', [], "linux", lambda _: True)


def test_the_file_starts_this_installation_even_where_another_bridge_lies(tmp_path: Path) -> None:
    (tmp_path / "bridge").mkdir()
    (tmp_path / "bridge" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    start = json.loads(start_file(9240, []))
    assert (start["protocol"], start["version"], start["osc_port"]) == (1, __version__, 9240)
    words = shlex.split(start["command"])
    assert words[0] == sys.executable
    told = subprocess.run(
        [*words[:-1], "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout == f"stembridge {__version__}\n"
