"""Live extension with the embedded engine: is the lead held, and what becomes of it with a slower engine?"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from bridge.demo.song import BPM as DEMO_BPM
from bridge.demo.song import render_demo_song
from bridge.live.schedule import Ask
from engine.render import render
from engine.sketch import SketchEngine
from protocol.job import JobRequest, ProjectRef, SourceRef
from protocol.live import LiveSettings
from protocol.music import Region, TempoMap
from protocol.task import Task
from protocol.vocabulary import Verb
from tests.bench.table import Table, percentile
from tests.support.live_simulation import Simulation, Transport

BPM, RATE, BARS, BAR_BEATS = 120.0, 48_000, 4, 4.0
SETTINGS = LiveSettings(phrase_bars=BARS, lead_bars=2 * BARS)
PHRASE_S = BARS * BAR_BEATS * 60 / BPM
SLOWER = 1.5
"""Share of its own length that a phrase takes at the best quality, where the engine is slowed."""

HICCUP_EVERY, HICCUP = 10, 4.0
CHEAPER = (1.0, 0.5, 0.25)
OLD_PHRASES, OLD_POLL_S = 2, 0.25


def run(quick: bool) -> list[Table]:
    """Ten minutes of transport (quick: one) at 120 BPM in simulated time; every phrase is really made and timed."""
    minutes = 1 if quick else 10
    table = Table(
        "Live extension: the lead",
        f"{minutes} min of transport at {BPM:g} BPM in simulated time, phrases of {BARS} bars ({PHRASE_S:g} s), "
        f"`lead_bars` {SETTINGS.lead_bars}. Every phrase is really made by the embedded engine, from the "
        f"{SETTINGS.context_bars} bars before it, and timed from writing these to reading the phrase. *Slowed*: the "
        f"same times, stretched so that a phrase typically takes {SLOWER:.0%} of its own length at the best quality "
        "(half and a quarter of that at the lower ones). *With hiccups*: every tenth phrase takes four times as "
        "long. Lead: bars ready past the playhead, from the join on. Reference: one phrase is asked for whenever "
        "less than two are left (what REAPER's script did before), always at the middle quality, "
        "without a deadline or a loop.",
        ("engine", "a phrase takes", "way", "lead at least", "lead, median", "looped", "nothing sounded"),
    )
    with tempfile.TemporaryDirectory() as folder:
        player = _Player(Path(folder))
        simulation = _schedule(minutes, lambda ask: player.make())
    times = player.times
    slow = [SLOWER * PHRASE_S / statistics.median(times) * seconds for seconds in times]
    hiccups = [seconds * (HICCUP if index % HICCUP_EVERY == 5 else 1) for index, seconds in enumerate(slow)]
    table.rows += _rows("sketch, as it is", times, simulation, _old_way(minutes, times, 1.0))
    for name, made in (("slowed", slow), ("slowed, with hiccups", hiccups)):
        took = _each(made)
        simulated = _schedule(minutes, lambda ask, took=took: took(ask.phrase) * CHEAPER[ask.quality])
        table.rows += _rows(name, made, simulated, _old_way(minutes, made, CHEAPER[1]))
    return [table]


def _each(times: list[float]) -> Callable[[int], float]:
    return lambda number: times[number % len(times)]


def _rows(name: str, times: list[float], ours: Simulation, old: tuple[list[float], float]) -> list[tuple[str, ...]]:
    takes = f"{statistics.median(times):.2f} s (p99 {percentile(times, 0.99):.2f} s)"
    leads, silent_s = old
    return [
        (name, takes, "schedule", *_lead(ours.lead_seen), f"{ours.loops} of {len(ours.fills)} slots", "never"),
        ("", "", "less than two left", *_lead(leads), "-", f"{silent_s:.1f} s"),
    ]


def _lead(bars: list[float]) -> tuple[str, str]:
    return f"{min(bars):.1f} bars", f"{statistics.median(bars):.1f} bars"


def _schedule(minutes: float, making: Callable[[Ask], float]) -> Simulation:
    """The schedule, from four phrases before the join on; the simulation itself raises if anything but music sounds."""
    join_beat = 4 * BARS * BAR_BEATS
    transport = Transport(TempoMap.constant(BPM), jitter_s=0.003)
    simulation = Simulation(transport, lambda ask, _: making(ask), SETTINGS, join_beat=join_beat, tells_progress=True)
    simulation.run(join_beat * 60 / BPM + minutes * 60)
    return simulation


def _old_way(minutes: float, times: list[float], factor: float) -> tuple[list[float], float]:
    """Bars ready at every poll from the join on, and seconds in which the playhead was past all that was ready."""
    took = _each(times)
    join_s = ready_s = 4 * PHRASE_S
    now, made_at, number = 0.0, None, 0
    leads, silent_s = [], 0.0
    while now < join_s + minutes * 60:
        if made_at is not None and made_at <= now:
            ready_s, made_at = ready_s + PHRASE_S, None
        if made_at is None and ready_s - now < OLD_PHRASES * PHRASE_S:
            number += 1
            made_at = now + took(number) * factor
        if now >= join_s:
            leads.append(max(0.0, ready_s - now) * BPM / 60 / BAR_BEATS)
            silent_s += OLD_POLL_S if ready_s <= now else 0.0
        now += OLD_POLL_S
    return leads, silent_s


class _Player:
    """Makes phrase after phrase with the embedded engine, each from the bars before it, and times that."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._engine = folder, SketchEngine()
        # rendered for a slower rate and read at this one, the demo song is at BPM
        self._played = render_demo_song(round(RATE * DEMO_BPM / BPM)).audio
        self.times: list[float] = []
        self.make()  # once for the imports
        self.times.clear()

    def make(self) -> float:
        number = len(self.times) + 1
        began = time.perf_counter()
        source = self._folder / f"context-{number}.wav"
        heard = round(SETTINGS.context_bars * BAR_BEATS * 60 / BPM * RATE)
        soundfile.write(source, self._played[:, -heard:].T, RATE, subtype="PCM_24")
        spool = self._folder / f"phrase-{number}"
        spool.mkdir(exist_ok=True)
        (take,) = render(
            self._request(source, heard / RATE, number),
            self._engine,
            spool,
            self._folder,
            lambda _: None,
            lambda: False,
        )
        made, _ = soundfile.read(take.file, dtype="float32", always_2d=True)
        took = time.perf_counter() - began
        self._played = np.concatenate([self._played[:, -heard:], made.T], axis=1)
        self.times.append(took)
        return took

    def _request(self, source: Path, end_s: float, seed: int) -> JobRequest:
        return JobRequest(
            verb=Verb.EXTEND,
            task=Task(seed=seed),
            engine="sketch",
            project=ProjectRef(folder=str(self._folder), media_folder=str(self._folder), sample_rate=RATE),
            source=SourceRef(file=str(source), start_s=0.0),
            tempo_map=TempoMap.constant(BPM),
            regions=(Region(end_s, end_s + PHRASE_S),),
        )
