"""The jobs that are timed: the stock pipeline's and ours, same weights, same steps. Each side runs in its own process.

Ours is what a user gets: `engine.render.render` on a WAV file, with reading, splice, report and writing. The stock side
is `AceStepPipeline.__call__` and reading the file; writing its result is spared it.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import soundfile

from tests.bench import geometry

RATE = 48_000
PROMPT = "warm analog bass, brushed drums, electric piano"
BPM = 104
GUIDANCE = 7.0
REGION_S, CONTEXT_S = 8.0, 10.0
COMPLETE_S = (14.0, 44.0)
TRACK = "drums"
VARIATIONS = 4

Made = TypeVar("Made")
Span = tuple[float, float]


@dataclass(frozen=True)
class Setting:
    """What both sides are told. `checkpoint` is a folder; `in_memory`: weights are made on the device instead."""

    geometry: str
    device: str
    checkpoint: Path
    in_memory: bool
    work: Path
    steps: int
    repeats: int
    """How often ours repaints a song again; the stock side's runs are long, and it does each once."""
    threads: int = 1
    """Of torch. The networks of the CPU are too narrow to gain from more, and on a machine that others use as well
    each step would wait for its slowest thread."""

    def apply(self) -> None:
        """In the process that works."""
        import torch

        torch.set_num_threads(self.threads)

    @property
    def clock(self) -> Callable[[], float]:
        """In seconds: CPU time where one thread does all the work, since that does not count the waiting for others
        who use the machine; else the wall clock's."""
        return time.process_time if self.device == "cpu" and self.threads == 1 else time.perf_counter


@dataclass(frozen=True)
class Song:
    """A file, and the region that is repainted: always at the same place of the latents' blocks."""

    minutes: float
    path: Path
    frames: int

    @property
    def region(self) -> Span:
        start = 2.0 + (self.minutes * 60.0 - REGION_S) / 2 // 4.0 * 4.0
        return start, start + REGION_S


@dataclass(frozen=True)
class Run:
    """One job. Bytes are of the process's memory, or of CUDA's allocator: after loading, and the most so far."""

    seconds: float
    """By `Setting.clock`: these are compared."""
    wall_seconds: float
    resting_bytes: int
    peak_bytes: int
    encoded_frames: int = 0
    result: Path | None = None
    """The sound, whose first sample lies on `start_frame` of the song."""
    start_frame: int = 0
    is_estimate: bool = False


class Meter:
    """Times work and reads memory; `resting` is what there was when the meter was made."""

    def __init__(self, setting: Setting) -> None:
        self._clock = setting.clock
        self._cuda = setting.device == "cuda"
        self._resting = 0
        if self._cuda:
            import torch

            self._torch: Any = torch
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self._resting = torch.cuda.memory_allocated()
        else:
            self._resting = psutil.Process().memory_info().rss

    def run(self, work: Callable[[], Made]) -> tuple[Run, Made]:
        began, wall_began = self._clock(), time.perf_counter()
        made = work()
        if self._cuda:
            self._torch.cuda.synchronize()
        seconds, wall_seconds = self._clock() - began, time.perf_counter() - wall_began
        return Run(seconds, wall_seconds, self._resting, self._peak()), made

    def _peak(self) -> int:
        return int(self._torch.cuda.max_memory_allocated()) if self._cuda else _high_water()


def _high_water() -> int:
    """The most bytes of main memory that this process has held. (Linux's `ru_maxrss` would count its parent's too.)"""
    status = Path("/proc/self/status")
    if status.exists():
        kib = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(kib) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: bytes


# --- ours -------------------------------------------------------------------------------------------------------------
class Ours:
    """The engine in this process, warmed up by a job on another song."""

    def __init__(self, setting: Setting, warm_up: Song) -> None:
        from engine.acestep import AceStepEngine

        setting.apply()
        self._setting = setting
        if setting.in_memory:
            sizes = geometry.GEOMETRIES[setting.geometry]
            self.engine = geometry.engine(sizes, setting.device, setting.checkpoint)
        else:
            self.engine = AceStepEngine()
            self.engine.configure({"checkpoint": str(setting.checkpoint), "device": setting.device})
        self._jobs = 0
        self.takes(warm_up, "repaint", warm_up.region, seed=1)
        if setting.device == "cuda":  # where every length of window is compiled once
            self.takes(warm_up, "complete", COMPLETE_S, seed=1)
        self.meter = Meter(setting)

    def takes(self, song: Song, verb: str, region: Span, *, seed: int, variations: int = 1) -> list[Any]:
        from engine.render import render
        from protocol.job import JobRequest, ProjectRef, SourceRef
        from protocol.music import Region, TempoMap
        from protocol.task import Task
        from protocol.vocabulary import TrackClass, Verb

        self._jobs += 1
        spool = self._setting.work / f"spool-{self._jobs}"
        spool.mkdir()
        folder = str(song.path.parent)
        request = JobRequest(
            verb=Verb(verb),
            task=Task(
                positive_prompt=PROMPT,
                seed=seed,
                steps=self._setting.steps,
                cfg_scale=GUIDANCE,
                number_results=variations,
            ),
            engine="acestep",
            project=ProjectRef(folder=folder, media_folder=folder, sample_rate=RATE),
            source=SourceRef(file=str(song.path)),
            tempo_map=TempoMap.constant(BPM),
            regions=(Region(*region),),
            tracks=(TrackClass(TRACK),) if verb == "complete" else (),
        )
        return render(request, self.engine, spool, self._setting.work / "cache", _ignore, _never)

    def run(self, song: Song, verb: str, region: Span, *, seed: int, variations: int = 1) -> Run:
        run, takes = self.meter.run(lambda: self.takes(song, verb, region, seed=seed, variations=variations))
        (first, *_) = takes
        encoded = first.engine_notes["encoded_frames"]
        return replace(run, encoded_frames=encoded, result=Path(first.file), start_frame=first.start_frame)


def _ignore(_progress: object) -> None: ...


def _never() -> bool:
    return False


def ours(setting: Setting, warm_up: Song, songs: list[Song]) -> dict[str, list[Run]]:
    """Per song ("repaint 4"): the first repaint, then the repeats with other seeds; then the other jobs."""
    side = Ours(setting, warm_up)
    runs = {f"repaint {song.minutes:g}": [side.run(song, "repaint", song.region, seed=1)] for song in songs}
    for seed in range(2, setting.repeats + 2):  # in turns, so that a noisy moment meets all songs
        for song in songs:
            runs[f"repaint {song.minutes:g}"].append(side.run(song, "repaint", song.region, seed=seed))
    elsewhere = (2.0 + CONTEXT_S, 2.0 + CONTEXT_S + REGION_S)
    runs["elsewhere"] = [side.run(songs[-1], "repaint", elsewhere, seed=1)]
    shortest = songs[0]
    runs["complete"] = [side.run(shortest, "complete", COMPLETE_S, seed=seed) for seed in (1, 2)]
    for count in (1, VARIATIONS):
        runs[f"variations {count}"] = [side.run(shortest, "repaint", shortest.region, seed=9, variations=count)]
    return runs


# --- stock ------------------------------------------------------------------------------------------------------------
class Stock:
    """The stock pipeline in this process, warmed up by a short job on another song."""

    def __init__(self, setting: Setting, warm_up: Song) -> None:
        setting.apply()
        self._setting = setting
        if setting.in_memory:
            self.pipe = geometry.stock(geometry.GEOMETRIES[setting.geometry], setting.device)
        else:
            import warnings

            from diffusers import AceStepPipeline

            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # its Oobleck uses the older weight_norm
                self.pipe = AceStepPipeline.from_pretrained(setting.checkpoint).to(setting.device)
        self.pipe.set_progress_bar_config(disable=True)
        self.sound(warm_up, "repaint", (1.0, 2.0), crop=(0.0, 10.0))
        self.meter = Meter(setting)

    def sound(
        self,
        song: Song,
        task: str,
        region: Span,
        *,
        crop: Span | None = None,
        variations: int = 1,
        steps: int | None = None,
        on_step: Callable[..., dict[str, Any]] | None = None,
    ) -> Any:
        """Samples ``(frames, channels)`` of the first variation, for the whole of the song or of `crop`."""
        import torch

        start, stop = (0, song.frames) if crop is None else (round(edge * RATE) for edge in crop)
        audio, _ = soundfile.read(song.path, start=start, stop=stop, dtype="float32", always_2d=True)
        told: dict[str, Any] = {}
        if task == "complete":
            told["complete_track_classes"] = [TRACK]
        else:
            told |= {"repainting_start": region[0], "repainting_end": region[1]}
        made = self.pipe(
            prompt=[PROMPT] * variations,
            lyrics=["[Instrumental]"] * variations,
            bpm=BPM,
            timesignature="4",
            task_type=task,
            src_audio=torch.from_numpy(audio.T.copy()),
            audio_duration=len(audio) / RATE,
            num_inference_steps=steps or self._setting.steps,
            guidance_scale=GUIDANCE,
            shift=1.0,
            generator=[torch.Generator().manual_seed(seed) for seed in range(variations)],
            callback_on_step_end=on_step,
            **told,
        ).audios
        return made[0].float().cpu().numpy().T

    def run(self, song: Song, task: str, region: Span, *, crop: Span | None = None, variations: int = 1) -> Run:
        run, sound = self.meter.run(lambda: self.sound(song, task, region, crop=crop, variations=variations))
        if not np.isfinite(sound).all():
            raise AssertionError("the stock pipeline's sound is not finite")
        if crop is not None or variations > 1:
            return run
        result = self._setting.work / f"stock-{song.minutes:g}.wav"
        soundfile.write(result, sound, RATE, subtype="FLOAT")
        return replace(run, result=result)

    def estimate(self, song: Song) -> Run:
        """From a run of two steps: what it took, and the second step as often as it was left out."""
        ends: list[float] = []

        def on_step(*_: object) -> dict[str, Any]:
            ends.append(self._setting.clock())
            return {}

        run, _ = self.meter.run(lambda: self.sound(song, "repaint", song.region, steps=2, on_step=on_step))
        seconds = run.seconds + (self._setting.steps - 2) * (ends[1] - ends[0])
        return replace(run, seconds=seconds, is_estimate=True)


ESTIMATED_FROM_MINUTES = 10
"""On a CPU, the stock pipeline needs several minutes for so long a song."""


def stock(setting: Setting, warm_up: Song, songs: list[Song]) -> dict[str, list[Run]]:
    """The same jobs by the stock pipeline: on the whole song; it knows no window."""
    side = Stock(setting, warm_up)
    runs = {}
    for song in songs:
        estimates = setting.device == "cpu" and song.minutes >= ESTIMATED_FROM_MINUTES
        run = side.estimate(song) if estimates else side.run(song, "repaint", song.region)
        runs[f"repaint {song.minutes:g}"] = [run]
    shortest = songs[0]
    runs["complete"] = [side.run(shortest, "complete", COMPLETE_S)]
    for count in (1, VARIATIONS):
        runs[f"variations {count}"] = [side.run(shortest, "repaint", shortest.region, variations=count)]
    return runs
