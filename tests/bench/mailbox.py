"""A request by file: how long a REAPER script waits until the daemon's answer lies in the mailbox."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import soundfile

from tests.bench.table import Table, ms, percentile
from tests.support.mailbox import Script, request

RATE, SECONDS = 44_100, 90
LONGEST_S = 10.0


def table(data_dir: Path, count: int) -> Table:
    """Measured on the daemon that runs on `data_dir`, which learns of the mailbox here."""
    root, song = data_dir / "mailbox", data_dir / "mailbox song"
    song.mkdir()
    root.mkdir()
    noise = np.random.Generator(np.random.PCG64(1)).normal(0, 0.05, (RATE * SECONDS, 2)).astype("float32")
    (data_dir / "reaper.json").write_text(json.dumps({"mailboxes": [str(root)]}), encoding="utf-8")
    script = Script(root)
    script.wait((root / "audio").is_dir)
    result = Table(
        "Request by file to its answer",
        "A repaint as the REAPER scripts ask for it, from the rename of the request's file until an answer lies there: "
        "found by the system's file events, checked, audio summed and kept in the project where it comes along, job "
        f"journalled, answer written. {count} requests one after the other, each cancelled at once. REAPER's scripts "
        "look at answers about 30 times a second.",
        ("", "p50", "p99"),
    )
    soundfile.write(song / "song.wav", noise, RATE, subtype="FLOAT")
    for name, brings_audio in (("source in the project", False), (f"{SECONDS} s of stereo audio along", True)):
        times = [_answered(script, song, noise if brings_audio else None) for _ in range(count + 1)][1:]
        result.rows.append((name, ms(percentile(times, 0.5)), ms(percentile(times, 0.99))))
    return result


def _answered(script: Script, song: Path, audio: np.ndarray | None) -> float:
    """Seconds from a request to its first answer."""
    content = request(project={"file": str(song), "media": str(song), "sample_rate": RATE})
    if audio is None:
        content["source"] = {"file": str(song / "song.wav"), "start_frame": 0}
    else:
        content["source"]["frames"] = len(audio)
        script.audio(content["id"], audio, RATE)
    answer, deadline = script.answer_file(content["id"]), time.monotonic() + LONGEST_S
    began = time.perf_counter()
    script.post(content)
    while not answer.exists():
        if time.monotonic() > deadline:
            raise TimeoutError("the daemon did not answer")
        time.sleep(0.0002)
    seconds = time.perf_counter() - began
    cancel = script.post(request(kind="cancel", job=content["id"]))
    script.final(cancel)
    script.final(content["id"])
    return seconds
