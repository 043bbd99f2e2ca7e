"""The engine itself: what it offers, and which of this package's modules answers which verb.

Numpy, scipy, soxr and librosa are imported by `prepare` or by the first job, not with this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.api import Capabilities, EngineTake, GenerationRequest, IsCancelled, ReportProgress
from protocol.errors import EngineCannot, MissingContext
from protocol.vocabulary import TrackClass, Verb

if TYPE_CHECKING:
    from engine.sketch.play import Sound

NAME, VERSION = "sketch", "2"

_NO_VOICE = (
    "The embedded engine has no voice: it plays instruments and cannot sing. Ask for another track, or use the acestep "
    "engine for vocals."
)
PLAYED = frozenset(TrackClass) - {TrackClass.VOCALS, TrackClass.BACKING_VOCALS}
"""The tracks that the band can play."""
EXTRACTED = frozenset({TrackClass.DRUMS, TrackClass.BASS, TrackClass.VOCALS})

CAPABILITIES = Capabilities(
    name=NAME,
    version=VERSION,
    verbs=frozenset(Verb),
    tracks=PLAYED,
    tracks_of={Verb.EXTRACT: EXTRACTED},
    why_not_track={TrackClass.VOCALS: _NO_VOICE, TrackClass.BACKING_VOCALS: _NO_VOICE},
    description=(
        "Signal processing and music theory; no neural model. Rearranges the song's own audio on its beat grid, plays "
        "parts that it writes from what it hears in the song, and separates by masking. Runs on any machine, without "
        "GPU or weights. Of a prompt it takes words of style and instruments, nothing else."
    ),
)


class SketchEngine:
    """`engine.api.Engine` by signal processing and music theory. A take depends on its request, its seed and the
    options alone."""

    def __init__(self) -> None:
        self._options: Mapping[str, Any] = {}
        self._known_sound: Sound | None = None

    def configure(self, options: Mapping[str, Any]) -> None:
        """`soundfont`: a file to play with instead of our own voices; `fill`: play where a song is too short."""
        self._options = dict(options)

    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def prepare(self) -> None:
        """Import the numeric libraries and build the filter banks (about a second, once per process)."""
        from engine.sketch import analysis, rearrange  # noqa: F401

        analysis.warm_up()

    def generate(
        self, request: GenerationRequest, progress: ReportProgress, cancelled: IsCancelled
    ) -> list[EngineTake]:
        """One take per seed (and track). Raises `EngineCannot`, `MissingContext`, `NoMaterial`, `Cancelled`."""
        CAPABILITIES.require(request.verb, request.tracks)
        if request.source is None and request.verb.needs_source:
            raise MissingContext(f"{request.verb.capitalize()} needs the song: send its file with /stembridge/source.")
        from engine.sketch import play

        match request.verb:
            case Verb.COMPLETE | Verb.LEGO:
                return play.stems(request, self._sound(), progress, cancelled)
            case Verb.COVER:
                return play.covers(request, self._sound(), progress, cancelled)
            case Verb.GENERATE:
                return play.sketches(request, self._sound(), progress, cancelled)
            case Verb.EXTRACT:
                raise EngineCannot("not yet")
            case _:
                return self._rearranged(request, progress, cancelled)

    def _rearranged(
        self, request: GenerationRequest, progress: ReportProgress, cancelled: IsCancelled
    ) -> list[EngineTake]:
        from engine.sketch.rearrange import rearranged

        return rearranged(request, progress, cancelled)

    def _sound(self) -> Sound:
        from engine.sketch.play import Sound

        return Sound()
