"""The engine itself: one request in, one take per seed out. The music is in the other modules of this package.

Numpy, scipy, soxr and librosa are imported by `prepare` or by the first job, not with this module.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from engine.api import Capabilities, EngineTake, GenerationRequest, IsCancelled, ReportProgress
from protocol.errors import EngineCannot, MissingContext
from protocol.job import Progress
from protocol.vocabulary import Verb

if TYPE_CHECKING:
    from engine.sketch.grid import Grid
    from engine.sketch.material import Material

logger = logging.getLogger("stembridge.sketch")

NAME, VERSION = "sketch", "1"

_INSTEAD = {
    Verb.GENERATE: "it makes nothing from a prompt alone. Ask for repaint, extend or prepend of a song that exists",
    Verb.COMPLETE: "it adds no instruments. Ask for repaint or extend, which work from the song's own sound",
    Verb.LEGO: "it plays no single instrument. Ask for repaint of the region, which works from the song's own sound",
    Verb.EXTRACT: "it cannot separate instruments. Use a separation tool on the file, then repaint the stem you want",
    Verb.COVER: "it cannot change a song's style. Ask for repaint with a low strength to vary the region",
}

CAPABILITIES = Capabilities(
    name=NAME,
    version=VERSION,
    verbs=frozenset({Verb.REPAINT, Verb.EXTEND, Verb.PREPEND}),
    description=(
        "Rearranges the song's own audio on its beat grid; no neural model. Runs on any machine, without GPU or "
        "weights. It takes no notice of prompts and makes no sound that the song does not hold."
    ),
    why_not={verb: f"The embedded engine cannot {verb} yet: {rest}." for verb, rest in _INSTEAD.items()},
)


class SketchEngine:
    """`engine.api.Engine` from the song's own beats. Holds no state: a take depends on its request and seed alone."""

    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def prepare(self) -> None:
        """Import the numeric libraries and build the filter banks (about a second, once per process)."""
        from engine.sketch import analysis, assemble, path  # noqa: F401

        analysis.warm_up()

    def generate(
        self, request: GenerationRequest, progress: ReportProgress, cancelled: IsCancelled
    ) -> list[EngineTake]:
        """One take per seed. Raises `EngineCannot`, `MissingContext`, `NoMaterial`, `Cancelled`."""
        if request.verb not in CAPABILITIES.verbs:
            raise EngineCannot(CAPABILITIES.why_not[request.verb])
        if request.source is None:
            raise MissingContext(f"{request.verb.capitalize()} needs the song: send its file with /stembridge/source.")
        return _takes(request, progress, cancelled)


def _takes(request: GenerationRequest, progress: ReportProgress, cancelled: IsCancelled) -> list[EngineTake]:
    from engine.sketch.analysis import analyse, check, span_to_analyse
    from engine.sketch.grid import grid_for
    from engine.sketch.material import material

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
    from engine.sketch.assemble import assemble
    from engine.sketch.path import choose

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
