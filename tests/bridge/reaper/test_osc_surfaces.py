"""What reaper.ini tells of OSC is read as REAPER packs it, and judged by whether REAPER and the daemon meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.reaper.osc_surfaces import OscSurface, judged, osc_surfaces

LOCAL = 'OSC "Stembridge" 3 9241 "" 0 1024 10 "Stembridge"'


def read(tmp_path: Path, *lines: str) -> tuple[OscSurface, ...]:
    body = "".join(f"csurf_{number}={line}\n" for number, line in enumerate(lines))
    (tmp_path / "reaper.ini").write_text(f"[REAPER]\ncsurf_cnt={len(lines)}\n{body}lastproject=x\n")
    return osc_surfaces(tmp_path)


def test_the_lines_of_other_surfaces_are_passed_over(tmp_path: Path) -> None:
    surfaces = read(tmp_path, "HTTP 0 8080 '' 'index.html' 0 ''", "MCU 0 0 1 2", LOCAL, 'OSC "old" @@@', "OSC")
    assert surfaces == (OscSurface(True, True, 9241, "", 0, "Stembridge"),)


@pytest.mark.parametrize("quote", ['"', "'", "`"])
def test_every_kind_of_quotation_mark_is_read(tmp_path: Path, quote: str) -> None:
    (surface,) = read(tmp_path, f"OSC {quote}my osc{quote} 2 0 10.0.0.2 9000 1024 10 {quote}My Patterns{quote}")
    assert (surface.device_host, surface.device_port, surface.pattern) == ("10.0.0.2", 9000, "My Patterns")


def test_no_ini_file_and_bytes_that_are_no_text_are_no_surfaces(tmp_path: Path) -> None:
    assert osc_surfaces(tmp_path) == ()
    (tmp_path / "reaper.ini").write_bytes(b"\xff\xfe\0csurf")
    assert osc_surfaces(tmp_path) == ()


@pytest.mark.parametrize(
    ("line", "works", "words"),
    [
        (LOCAL, True, "local port 9241"),
        (LOCAL.replace('"Stembridge"', '"Stembridge.ReaperOSC"'), True, "local port 9241"),
        (LOCAL.replace("9241", "8000"), False, "has local port 8000; the daemon speaks to 9241"),
        ('OSC "" 3 9241 "127.0.0.1" 9240 1024 10 "Stembridge"', True, "sends to the daemon's port 9240"),
        ('OSC "" 3 8000 "127.0.0.1" 9240 1024 10 "Stembridge"', True, "does not listen on port 9241"),
        ('OSC "" 2 0 "10.0.0.5" 9240 1024 10 "Stembridge"', False, "sends to 10.0.0.5:9240"),
        ('OSC "" 1 9241 "" 0 1024 10 "Stembridge"', False, "sends to nobody"),
        ('OSC "" 3 9241 "" 0 1024 10 "Default"', False, "no OSC surface with the pattern config Stembridge"),
    ],
)
def test_a_surface_is_judged_by_who_would_hear_whom(tmp_path: Path, line: str, works: bool, words: str) -> None:
    finding = judged(read(tmp_path, line), 9241, 9240)
    assert finding.works is works
    assert words in finding.words


def test_the_surface_that_works_counts_and_off_is_off(tmp_path: Path) -> None:
    surfaces = read(tmp_path, LOCAL.replace("9241", "8000"), LOCAL)
    assert judged(surfaces, 9241, 9240).works
    assert "osc_port is off" in judged(surfaces, "off", 9240).words
