"""The engine itself: what it offers, and which of this package's modules answers which verb.

Numpy, scipy, soxr and librosa are imported by `prepare` or by the first job, not with this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine.api import Capabilities, EngineTake, GenerationRequest, IsCancelled, ReportProgress
from protocol.errors import MissingContext, NoMaterial, StembridgeError
from protocol.vocabulary import TrackClass, Verb

if TYPE_CHECKING:
    from engine.sketch.sound import Sound

NAME, VERSION = "sketch", "2"

_NO_VOICE = (
    "The embedded engine has no voice: it plays instruments and cannot sing. Ask for another track, or use the acestep "
    "engine for vocals."
)
PLAYED = frozenset(TrackClass) - {TrackClass.VOCALS, TrackClass.BACKING_VOCALS}
"""The tracks that the band can play."""
MASKED = frozenset(
    {
        *(TrackClass.DRUMS, TrackClass.BASS, TrackClass.VOCALS),
        *(TrackClass.KEYBOARD, TrackClass.GUITAR, TrackClass.STRINGS, TrackClass.SYNTH),
    }
)
"""The tracks that masks can extract: `engine.sketch.separate.TRACKS`, known without importing numpy."""

CAPABILITIES = Capabilities(
    name=NAME,
    version=VERSION,
    verbs=frozenset(Verb),
    tracks=PLAYED,
    tracks_of={Verb.EXTRACT: MASKED},
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
        self._capabilities = CAPABILITIES

    def configure(self, options: Mapping[str, Any]) -> None:
        """What `bridge.config.SketchConfig` says. Raises `BadArgument` for what cannot be."""
        from engine.sketch import neural_separation

        self._options = self.separator_options(options)
        neural_separation.Options.of(self._options)
        try:
            offer = neural_separation.offer(self._options)
        except StembridgeError:
            offer = None  # the job that needs it says what is missing
        libraries = tuple(
            name for name, wanted in (("tinysoundfont", options.get("soundfont")), ("demucs", offer)) if wanted
        )
        extracted = MASKED | offer.tracks if offer else MASKED
        self._capabilities = replace(CAPABILITIES, tracks_of={Verb.EXTRACT: extracted}, libraries=libraries)

    @staticmethod
    def separator_options(options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with the names by which `engine.sketch.neural_separation` knows them."""
        return {**options, "models_dir": options.get("separator_dir")}

    def capabilities(self) -> Capabilities:
        return self._capabilities

    def prepare(self) -> None:
        """Import the numeric libraries and build the filter banks (about a second, once per process)."""
        from engine.sketch import analysis, play, rearrange  # noqa: F401

        analysis.warm_up()

    def generate(
        self, request: GenerationRequest, progress: ReportProgress, cancelled: IsCancelled
    ) -> list[EngineTake]:
        """One take per seed (and track).

        Raises `EngineCannot`, `EngineMissing`, `MissingContext`, `NoMaterial`, `Cancelled`.
        """
        self._capabilities.require(request.verb, request.tracks)
        if request.source is None and request.verb.needs_source:
            raise MissingContext(f"{request.verb.capitalize()} needs the song: send its file with /stembridge/source.")
        from engine.sketch import play

        match request.verb:
            case Verb.COMPLETE | Verb.LEGO:
                return play.stems(request, self._sound(request), progress, cancelled)
            case Verb.COVER:
                return play.covers(request, self._sound(request), progress, cancelled)
            case Verb.GENERATE:
                return play.sketches(request, self._sound(request), progress, cancelled)
            case Verb.EXTRACT:
                from engine.sketch.extract import extracted

                return extracted(request, self._options, progress, cancelled)
            case _:
                return self._rearranged(request, progress, cancelled)

    def _rearranged(
        self, request: GenerationRequest, progress: ReportProgress, cancelled: IsCancelled
    ) -> list[EngineTake]:
        from engine.sketch import play, rearrange

        try:
            return rearrange.rearranged(request, progress, cancelled)
        except NoMaterial:
            if not self._options.get("fill", True):
                raise
            return play.fills(request, self._sound(request), progress, cancelled)

    def _sound(self, request: GenerationRequest) -> Sound:
        from engine.sketch.sound import sound_of

        return sound_of(self._options, request.cache_dir)
