"""Audio out and in through the real PortAudio and a real JACK server, without a sound card."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import jack

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
ATTEMPTS = 3


def start(what: str, **environment: str) -> subprocess.Popen[str]:
    """A child that plays; its last line is its answer."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-m", "tests.support.audio_loopback", what]
    return subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer(child: subprocess.Popen[str]) -> dict[str, object]:
    out, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    told: dict[str, object] = json.loads(out.splitlines()[-1])
    return told


def test_what_the_player_makes_comes_back_bit_for_bit_through_jack() -> None:
    with jack.server("loop", sync=True) as _:
        told: dict[str, object] = {}
        for _ in range(ATTEMPTS):  # a machine that is too busy loses blocks, and says so
            told = answer(start("loop"))
            if told["exact"] or not told["xruns"]:
                break
    if told["xruns"] and not told["exact"]:
        pytest.skip(f"JACK lost blocks in each of {ATTEMPTS} attempts: the machine is too busy")
    assert told["exact"]
    assert told["faults"] == 0
    assert told["phase_s"] == pytest.approx(0.0, abs=1e-9)
    # The loop leaves out the latencies that both directions state (two periods of 5.3 ms each) and adds one period.
    assert told["heard_after_s"] == pytest.approx(-0.016, abs=0.03)


def test_a_device_that_goes_away_is_noticed_and_ends_nothing_else() -> None:
    with jack.server("vanish") as server:
        child = start("vanish")
        assert child.stdout is not None
        assert child.stdout.readline().strip() == "playing"
        server.process.terminate()
        told = answer(child)
    assert told == {"ended": True}


def test_without_a_device_the_sentence_says_what_to_do() -> None:
    if reason := jack.why_not():
        pytest.skip(reason)
    told = answer(start("none", JACK_DEFAULT_SERVER="not-there", JACK_NO_START_SERVER="1"))
    if "found" in told:
        pytest.skip(f"this machine has a sound card: {told['found']}")
    assert told["code"] == "audio_unavailable"
    assert "Connect one" in str(told["sentence"])
