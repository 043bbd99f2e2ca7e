"""REAPER takes our pattern file as it is, sends by it all that the daemon understands, and nothing for nobody."""

from __future__ import annotations

import pytest

from bridge.reaper.osc_pattern import MAX_PATTERN, is_known, lint, sent, unheard
from bridge.reaper.payload import scripts_folder
from protocol.reaper_osc import NATIVE

TEXT = (scripts_folder() / "Stembridge.ReaperOSC").read_text(encoding="ascii")
WANTED = [(address.path, address.text) for address in NATIVE.values()]


def test_our_file_is_one_that_reapers_parser_takes() -> None:
    assert lint(TEXT) == []
    assert lint(TEXT.replace("\n", "\r\n")) == []


def test_reaper_streams_exactly_what_the_session_understands_in_the_form_that_it_reads() -> None:
    assert set(sent(TEXT)) == set(NATIVE)
    assert unheard(TEXT, WANTED) == []


def test_the_daemon_can_ask_for_everything_and_ring_by_it() -> None:
    (action,) = [line.split() for line in TEXT.splitlines() if line.startswith("ACTION ")]
    assert {"i/action", "s/action/str"} <= set(action)


def test_an_address_that_is_missing_or_scaled_is_told() -> None:
    assert unheard(TEXT.replace("TIME f/time", "TIME n/time", 1), WANTED) == ["/time is sent as n, not as one of fbti"]
    assert unheard(TEXT.replace("\nPLAY t/play", ""), WANTED) == ["/play is not sent"]
    assert unheard(TEXT.replace("s/lastregion", "f/lastregion"), WANTED)
    assert unheard(TEXT.replace("f/tempo/raw", "r/tempo/raw"), WANTED) == ["/tempo/raw is not sent"]


@pytest.mark.parametrize(
    "line",
    [
        "DEVICE_EQ EXISTING",  # documented, and an error
        "DEVICE_TRACK_COUNT 0",
        "DEVICE_TRACK_COUNT -1",
        "DEVICE_TRACK_COUNT many",
        "DEVICE_TRACK_FOLLOWS MIXER",
        "DEVICE_ROTARY_CENTER 1",
        "TIEM f/time",
        "time f/time",
        "PLAY",
        "PLAY /play",
        "PLAY o/play",
        "PLAY fplay",
        "PLAY t/play # comment",
        "PLAY t/play*",
        "PLAY t/play/@",
        'PLAY "t/play"',
        "PLAY t/wiedergäbe",
        "\tPLAY t/play",
        f"PLAY t/{'x' * (MAX_PATTERN - 1)}",
        f"PLAY {'t/' + 'x' * 400} " * 11,
        "REGION_NAME s/region/name",
        "REGION_NAME s/region/@/@",
        "LAST_REGION_NAME s/lastregion/@/name",
        "PLAY t/play t/play",
    ],
)
def test_one_malformed_line_is_found_with_its_number(line: str) -> None:
    problems = lint(f"# a comment\nTIME f/time\n{line}\n")
    assert problems
    assert all(problem.startswith("line 3: ") for problem in problems)


@pytest.mark.parametrize(
    "line",
    [
        "DEVICE_EQ INSERT",
        "DEVICE_REGION_COUNT 64",
        "DEVICE_REGION_COUNT i/device/region/count t/device/region/count/@",
        "DEVICE_FX_FOLLOWS FOCUSED s/device/fx/follows",
        "REGION_NAME s/region/@/name",
        "TRACK_NAME s/track/name s/track/@/name",
        f"PLAY t/{'x' * (MAX_PATTERN - 2)}",
        "  # a comment, indented",
        "",
    ],
)
def test_what_reaper_takes_is_not_complained_about(line: str) -> None:
    assert lint(line) == []


def test_keys_are_those_of_reapers_default_file() -> None:
    assert all(map(is_known, ["ZOOM_Y-", "FX_EQ_BAND_GAIN", "DEVICE_PREV_REGION_BANK", "DEVICE_FX_INST_PARAM_COUNT"]))
    assert not any(map(is_known, ["FX_EQ_LOPASS_GAIN", "TIME_SELECTION", "REGIONS", "DEVICE_COUNT", ""]))
