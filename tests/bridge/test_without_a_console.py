"""A daemon that a REAPER script started has no console, and perhaps nobody who reads what it prints."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

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
