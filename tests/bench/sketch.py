"""The embedded engine: how long a repaint takes against the length of its region, for songs of 1, 4 and 10 minutes."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from bridge.demo.song import DemoSong, render_demo_song
from tests.bench.table import Table
from tests.support import daemon as daemons
from tests.support.daemon import Client, Daemon

REGION_BARS = 4
MINUTES = (1, 4, 10)


def run(quick: bool) -> list[Table]:
    """Time repaints of a real daemon, cold (the song never seen) and warm (analysed, another region)."""
    demo = render_demo_song()
    region_s = REGION_BARS * 4 * 60 / demo.bpm
    table = Table(
        "Repaint with the embedded engine",
        f"One take of {REGION_BARS} bars ({region_s:.1f} s, stereo, 48 kHz) by a running daemon, from the request to "
        "`/job/done`: analysis, path, assembly, splice, report and delivery. *First*: a song never seen. *Next*: "
        "other regions of it (median of the runs). Goal: more than 10x real time, and no growth with the song beyond "
        "the first. Reference: playing the region takes 1x; a whole-file read and a mono STFT of the song, as every "
        "request would cost without the cache, is timed beside it.",
        ("song", "first", "next", "next, times real time", "reading and analysing anew"),
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with daemons.running(root / "data") as daemon:
            _repaints(daemon, _song(root / "warm-up", demo, 2), demo, 1)  # the engine's process starts and imports
            for minutes in MINUTES:
                song = _song(root / f"{minutes} minutes", demo, minutes)
                first, following = _repaints(daemon, song, demo, 3 if quick else 15)
                anew = _read_and_analyse(song)
                rate = region_s / following
                table.rows.append(
                    (f"{minutes} min", f"{first:.2f} s", f"{following:.3f} s", f"{rate:.0f}x", f"{anew:.2f} s")
                )
    return [table]


def _song(folder: Path, demo: DemoSong, minutes: int) -> Path:
    """The demo song, repeated to the length; every repeat a little different, so that nothing is a mere copy."""
    folder.mkdir()
    frames = minutes * 60 * demo.rate
    generator = np.random.Generator(np.random.PCG64(minutes))
    passes = -(-frames // demo.audio.shape[1])
    whole = np.concatenate([demo.audio * (0.8 + 0.2 * generator.random()) for _ in range(passes)], axis=1)
    path = folder / "song.wav"
    soundfile.write(path, whole[:, :frames].T, demo.rate, subtype="PCM_16")
    return path


def _repaints(daemon: Daemon, song: Path, demo: DemoSong, count: int) -> tuple[float, float]:
    client = daemon.client()
    for message in (
        ("/stembridge/project", str(song.parent)),
        ("/stembridge/source", song.name),
        ("/stembridge/tempo", float(demo.bpm)),
        ("/stembridge/key", str(demo.key)),
    ):
        client.tell(*message)
    times = [_repaint(client, 5 + index) for index in range(count + 1)]
    return times[0], sorted(times[1:])[count // 2]


def _repaint(client: Client, bar: int) -> float:
    """Seconds for one repaint of the bars from `bar` on."""
    client.tell("/stembridge/region/bars", bar, REGION_BARS)
    began = time.perf_counter()
    ack = client.ask("/stembridge/repaint", "seed", 1)
    client.finish(str(ack.args[0]))
    return time.perf_counter() - began


def _read_and_analyse(song: Path) -> float:
    began = time.perf_counter()
    audio, _ = soundfile.read(song, dtype="float32", always_2d=True)
    mono = audio.mean(axis=1)
    frames = np.lib.stride_tricks.sliding_window_view(mono, 4096)[::1024]
    for block in np.array_split(frames, max(1, len(frames) // 512)):
        np.abs(np.fft.rfft(block * np.hanning(4096).astype(np.float32)))
    return time.perf_counter() - began
