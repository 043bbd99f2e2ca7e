"""`make bench-engine`: the stock `AceStepPipeline` against our engine, same weights, same steps, in one run.

On a CPU with a reduced geometry, on CUDA with XL's. Each side works in a fresh process. Writes
docs/benchmarks-engine.md (CPU) or docs/benchmarks-engine-cuda.md; `--quick` makes a short run and prints only.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import psutil
import soundfile

from tests.bench import acestep_jobs as jobs
from tests.bench import acestep_steps as steps
from tests.bench import acestep_tables as tables
from tests.bench import geometry
from tests.bench.acestep_jobs import RATE, Setting, Song
from tests.bench.acestep_tables import Runs

DOCS = Path(__file__).parents[2] / "docs"
MEMORY_MINUTES = 4.0
WARM_UP_MINUTES = 0.9
"""Long enough for the windows of all jobs."""

INTRO = """# Benchmarks of the ACE-Step engine

Written by `make bench-engine`; do not edit. diffusers' `AceStepPipeline` against our engine: the same weights, {steps}
steps, guidance (APG, 7), schedule and prompt, each side in a process of its own, warmed up by a short job. The weights
are random: speed does not depend on them. Ours is a whole job on a WAV file: reading, encoding, denoising, decoding,
splice, report and writing. The stock side reads the file and calls the pipeline. The regions begin and end on latent
frames (40 ms); any others get up to 4 s more context.

{note}{machine}
"""

REDUCED_NOTE = """The network is narrow ({parameters:.0f} M parameters, XL has 4,169 M). So attention, whose cost grows
with the square of the length, and the VAE weigh more than at XL's width, and both favour short windows: the factors for
long songs are larger here than XL's can be. For XL a model of its FLOPs predicts about 12 for 8 s in 4 minutes (H100,
50 steps); that has not been measured.

"""

Made = TypeVar("Made")


def in_fresh_process(work: Callable[..., Made], *arguments: Any) -> Made:
    """`work`, a function of a module, with torch and everything else newly imported."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


# --- what is worked on ------------------------------------------------------------------------------------------------
def make_songs(folder: Path, minutes: Sequence[float]) -> list[Song]:
    """The demo song, repeated; 1,000 samples longer than the minutes, so that no length is a round one."""
    from bridge.demo.song import render_demo_song

    demo = render_demo_song(RATE).audio.T
    songs = []
    for length in minutes:
        song = Song(length, folder / f"song-{length:g}.wav", int(length * 60 * RATE) + 1000)
        with soundfile.SoundFile(song.path, "w", RATE, demo.shape[1], subtype="PCM_16") as file:
            while (left := song.frames - file.tell()) > 0:
                file.write(demo[:left])
        songs.append(song)
    return songs


# --- the page ---------------------------------------------------------------------------------------------------------
def machine(setting: Setting, load_before: float) -> str:
    """The machine, the versions and how busy it was."""
    import torch

    command = "make bench-engine" + (f" ARGS='--threads {setting.threads}'" if setting.threads > 1 else "")
    names = [
        line.split(":", 1)[1].strip()
        for line in (Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else [])
        if line.startswith("model name")
    ]
    memory = psutil.virtual_memory().total / 2**30
    libraries = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "diffusers", "transformers"))
    how = "Times are the wall clock's."
    if setting.clock is time.process_time:
        how = "Times are CPU time, which others at work on the machine disturb less; the wall clock's are in brackets."
    load = f"{load_before:.1f} before, {os.getloadavg()[0]:.1f} at the end"
    return "\n".join(
        [
            f"- command: `{command}`",
            f"- date: {datetime.now(UTC):%Y-%m-%d}",
            f"- machine: {names[0] if names else platform.machine()}, {psutil.cpu_count()} cores, {memory:.0f} GiB, "
            f"{platform.system()}; device: {torch.cuda.get_device_name() if setting.device == 'cuda' else 'cpu'}",
            f"- threads: {setting.threads}, on both sides; load average {load}. {how}",
            f"- Python {platform.python_version()}, {libraries}",
        ]
    )


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def measured_page(setting: Setting, minutes: Sequence[float], windows_s: Sequence[int]) -> str:
    """Everything, measured now."""
    load_before = os.getloadavg()[0]
    songs = make_songs(setting.work, minutes)
    (warm_up,) = make_songs(setting.work, [WARM_UP_MINUTES])
    stock: Runs = in_fresh_process(jobs.stock, setting, warm_up, songs)
    ours: Runs = in_fresh_process(jobs.ours, setting, warm_up, songs)
    per_step = in_fresh_process(steps.measure, setting, windows_s)
    is_gpu = setting.device == "cuda" and setting.geometry == "xl"
    on_gpu = in_fresh_process(steps.measure, setting, steps.GPU_WINDOWS_S) if is_gpu else []
    decode = in_fresh_process(steps.decode_rate, setting, 60) if is_gpu else None
    compared = MEMORY_MINUTES if MEMORY_MINUTES in minutes else minutes[-1]
    job = tables.again(ours[f"repaint {compared:g}"]) if is_gpu else None
    page = [
        tables.goals_table(compared, stock, ours, job),
        tables.repaint_table(songs, stock, ours),
        tables.complete_table(stock, ours),
        tables.variations_table(songs[0], stock, ours),
        tables.steps_table(per_step),
        tables.memory_table(compared, setting.device, stock, ours),
        tables.gpu_table(on_gpu, decode, job),
    ]
    parameters = geometry.transformer_parameters(geometry.GEOMETRIES[setting.geometry])
    note = "" if setting.geometry == "xl" else REDUCED_NOTE.format(parameters=parameters / 1e6)
    intro = INTRO.format(steps=setting.steps, note=note, machine=machine(setting, load_before))
    return intro + "\n" + "\n".join(table.markdown() for table in page)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.acestep")
    parser.add_argument("--quick", action="store_true", help="short songs, few steps; prints only")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda if there is one")
    parser.add_argument(
        "--geometry", choices=geometry.GEOMETRIES, help="default, for the page: reduced on cpu, xl on cuda"
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch, on both sides")
    parser.add_argument("--in-memory", action="store_true", help="make the weights on the device, as for XL")
    chosen = parser.parse_args(arguments)
    device = chosen.device or _best_device()
    usual = "reduced" if device == "cpu" else "xl"
    name = chosen.geometry or usual
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        in_memory = chosen.in_memory or name == "xl"
        on_disk = geometry.TINY if in_memory else geometry.GEOMETRIES[name]
        checkpoint = geometry.write(on_disk, work / f"bench-{on_disk.name}-base")
        setting = Setting(
            geometry=name,
            device=device,
            checkpoint=checkpoint,
            in_memory=in_memory,
            work=work,
            steps=2 if chosen.quick else geometry.GEOMETRIES[name].steps,
            repeats=1 if chosen.quick else 4,
            threads=chosen.threads,
        )
        page = measured_page(
            setting, (0.8, 1) if chosen.quick else (1, 4, 10), (12,) if chosen.quick else (28, 60, 240)
        )
    print(page)
    if not chosen.quick and name == usual:
        target = DOCS / ("benchmarks-engine.md" if device == "cpu" else "benchmarks-engine-cuda.md")
        target.write_text(page, encoding="utf-8")
        print(f"written: {target.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
