"""Repaint, extend and prepend: the region out of the song's own audio, or played by the band where there is too little.

Promise: nothing of what the region holds now enters a take.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import Any

from engine.api import EngineTake, GenerationRequest, IsCancelled, ReportProgress
from engine.sketch.analysis import analyse, check, span_to_analyse
from engine.sketch.assemble import assemble
from engine.sketch.grid import Grid, grid_for
from engine.sketch.material import Material, material
from engine.sketch.path import choose
from protocol.job import Progress

logger = logging.getLogger("stembridge.sketch")


def rearranged(request: GenerationRequest, progress: ReportProgress, cancelled: IsCancelled) -> list[EngineTake]:
    """One take per seed. Raises `NoMaterial` if the song outside the region is too short, and `Cancelled`."""
    source = request.source
    assert source is not None
    check(cancelled)
    span = span_to_analyse(source, request.region)
    features = analyse(source, span, request.cache_dir, progress, cancelled)
    grid = grid_for(request, features, request.region, cancelled)
    song = material(source, grid, features, request.region)
    progress(Progress(fraction=0.5, stage="choosing"))
    takes = []
    for index, seed in enumerate(request.seeds):
        check(cancelled)
        takes.append(_take(request, song, seed, cancelled))
        progress(Progress(fraction=0.5 + 0.5 * (index + 1) / len(request.seeds), stage="assembling"))
    return takes


def _take(request: GenerationRequest, song: Material, seed: int, cancelled: IsCancelled) -> EngineTake:
    source = request.source
    assert source is not None
    strength = request.task.strength
    path = choose(song, 1.0 - strength, seed, source.sha256, cancelled)
    audio, start, laid, gains = assemble(source, song, path, cancelled)
    logger.info("seed %d: %d excerpts, cost %.2f, joins %s", seed, len(gains), path.cost, path.joins)
    begins = [*path.run_starts, len(path.sources)]
    runs = [
        [round(request.time_of(float(song.grid.lines[path.sources[a]])), 6), _beats(song.grid, path.sources[a:b])]
        for a, b in pairwise(begins)
    ]
    notes: dict[str, Any] = {
        "grid": song.grid.name,
        "bpm": round(song.grid.bpm, 4),
        "strength": strength,
        "path": runs,
        "joins": [None if join is None else round(join, 4) for join in path.joins],
        "gains_db": [round(float(gain), 2) for gain in gains],
        "material_share": round(path.share, 4),
        "pieces": len(laid),
    }
    return EngineTake(audio=audio, start=start, seed=seed, notes=notes)


def _beats(grid: Grid, slots: Any) -> float:
    return round(float(grid.beats[slots].sum()), 4)
