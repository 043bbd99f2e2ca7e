"""A daemon that a REAPER script started has no console, and perhaps nobody who reads what it prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOWHERE = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

PROGRAM = """
import sys
sys.stdout = sys.stderr = None
from bridge.cli import main
code = main({arguments})
print("lost")
assert code == {code}, code
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["jobs", "--data-dir", "absent"], 0), (["reaper", "status", "--resource-path", "absent"], 1)],
)
def test_without_streams_what_is_printed_goes_nowhere(
    arguments: list[str], code: int, tmp_path: os.PathLike[str]
) -> None:
    program = PROGRAM.format(arguments=arguments, code=code)
    told = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert (told.returncode, told.stdout, told.stderr) == (0, b"", b"")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes that nobody reads are an error on POSIX systems")
def test_an_error_that_nobody_reads_has_the_exit_code_that_it_has_otherwise(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "bridge.cli", "reaper", "status", "--resource-path", "absent"]
    told = subprocess.Popen(words, cwd=tmp_path, env=NOWHERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for pipe in (told.stdout, told.stderr):
        assert pipe is not None
        pipe.close()
    assert told.wait(60) == 1


def test_a_name_that_the_output_has_no_letters_for_ends_no_command(tmp_path: Path) -> None:
    resource = tmp_path / "日本"
    resource.mkdir()
    (resource / "reaper.ini").touch()
    words = [sys.executable, "-m", "bridge.cli", "reaper", "install", "--resource-path", str(resource)]
    told = subprocess.run(
        [*words, "--data-dir", str(tmp_path / "data")],
        env={**NOWHERE, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert b"REAPER's own settings were not touched." in told.stdout
