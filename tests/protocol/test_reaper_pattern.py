"""The pattern file that REAPER loads: one malformed line and REAPER silently falls back to its defaults."""

from __future__ import annotations

import re
from pathlib import Path

from protocol.reaper_osc import NATIVE

FILE = Path(__file__).parents[2] / "reaper_scripts" / "Stembridge.ReaperOSC"
PATTERN = re.compile(r"[nfbtrsi]/\S{1,510}")


def lines() -> list[list[str]]:
    text = FILE.read_text(encoding="ascii")
    return [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_every_line_is_one_that_reapers_parser_accepts() -> None:
    for key, *rest in lines():
        assert re.fullmatch(r"[A-Z_]+", key)
        if key.endswith("_COUNT"):
            (count,) = rest
            assert int(count) > 0
        elif key.endswith("_FOLLOWS"):
            assert rest[0] in ("REAPER", "DEVICE", "LAST_TOUCHED", "FOCUSED", "MIXER")
        else:
            assert rest
            assert all(PATTERN.fullmatch(pattern) for pattern in rest), (key, rest)


def test_reaper_streams_exactly_what_the_session_understands() -> None:
    sent = {
        pattern[1:] for key, *rest in lines() if not key.startswith(("DEVICE", "REAPER", "ACTION")) for pattern in rest
    }
    assert sent == set(NATIVE)
