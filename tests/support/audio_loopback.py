"""A process that plays and records by the real audio system; run as `python -m tests.support.audio_loopback WHAT`.

`loop`: plays noise from the internal transport's beat 0 through JACK back to its own input and prints, as JSON, what
came back. `vanish`: plays until its device goes away. `none`: looks for a device. It is a process of its own because
PortAudio belongs to a process, and so does what happens when JACK ends under it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np

from bridge.live.audio_device import AudioIn, AudioOut, AudioUnavailable, find
from bridge.live.capture import RingBuffer
from bridge.live.internal_clock import InternalClock
from bridge.live.player import START_S, Player
from tests.support.played_clips import RATE, noise

SECONDS = 3.0
_WAIT_S = 30.0


def main(what: str) -> dict[str, object]:
    if what == "none":
        try:
            return {"found": str(find(None, playing=True))}
        except AudioUnavailable as error:
            return {"code": error.code, "sentence": error.sentence}
    transport = InternalClock(RATE)
    player = Player(RATE, 2, transport.head)
    out = AudioOut(player, find("system*jack*", playing=True), internal=transport)
    return _vanish(out) if what == "vanish" else _loop(out, player, transport)


def _loop(out: AudioOut, player: Player, transport: InternalClock) -> dict[str, object]:
    clip = noise(SECONDS + 1.0)
    ring = RingBuffer(SECONDS + 10.0, RATE, 2)
    player.place([clip])
    with out, AudioIn(ring, find("system", playing=False)) as heard:
        for channel in (1, 2):
            ours = f"PortAudio:in_{channel - 1}"
            subprocess.run(["jack_disconnect", f"system:capture_{channel}", ours], check=True, capture_output=True)
            subprocess.run(["jack_connect", f"PortAudio:out_{channel - 1}", ours], check=True, capture_output=True)
        transport.play(0.0, 120.0)
        _until(lambda: transport.head(time.monotonic()).beat > (SECONDS + 0.2) * 2.0)
        head = transport.head(time.monotonic())
        phase_s = player.phase_s
    assert ring.span is not None
    audio, _ = ring.read_between(*ring.span)
    begin, frames = round(START_S * RATE), round(SECONDS * RATE)
    places = np.flatnonzero(audio[0] == clip.audio[0, begin])
    first = int(places[0]) - begin if len(places) else -1
    exact = first >= 0 and np.array_equal(audio[:, first + begin : first + frames], clip.audio[:, begin:frames])
    sounded = head.at - head.beat / 2.0
    return {
        "exact": exact,
        "xruns": out.xruns + heard.xruns,
        "phase_s": phase_s,
        "faults": player.faults,
        "heard_after_s": ring.span[0] + first / RATE - sounded,
    }


def _vanish(out: AudioOut) -> dict[str, object]:
    with out:
        _until(lambda: out.frames > 0)
        print("playing", flush=True)
        _until(lambda: out.ended)
    return {"ended": True}


def _until(true) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + _WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
