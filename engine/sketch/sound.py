"""What parts are played with: the engine's own voices, or a soundfont that the configuration names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.api import GenerationRequest, IsCancelled
from engine.audio import content_hash
from engine.sketch.score import Part
from engine.sketch.voices.perform import perform
from protocol.errors import EngineMissing, SourceError
from protocol.music import TempoMap

if TYPE_CHECKING:
    from engine.api import Audio


@dataclass(frozen=True)
class Sound:
    """Our own voices, or the soundfont at `soundfont`; `identity` is what a recipe says of it."""

    soundfont: Path | None = None
    identity: str = "own"

    def play(
        self,
        part: Part,
        tempo_map: TempoMap,
        request: GenerationRequest,
        span: tuple[int, int],
        cancelled: IsCancelled,
    ) -> Audio:
        """The part over source frames `span`, at the voices' nominal loudness: ``(2, frames)``.

        Raises `Cancelled`, and for a soundfont what `engine.sketch.voices.soundfont.perform` raises.
        """
        if self.soundfont is None:
            return perform(part, tempo_map, span, request.rate, request.frame_of, cancelled)
        from engine.sketch.voices import soundfont

        return soundfont.perform(
            part, tempo_map, span, request.rate, request.frame_of, cancelled, soundfont=self.soundfont
        )


def sound_of(options: Mapping[str, Any], cache_dir: Path | None) -> Sound:
    """What the options ask for. Raises `EngineMissing` if the soundfont is not there."""
    if not options.get("soundfont"):
        return Sound()
    file = Path(options["soundfont"])
    try:
        digest = content_hash(file, cache_dir) if cache_dir else hashlib.sha256(file.read_bytes()).hexdigest()
    except (OSError, SourceError) as error:
        raise EngineMissing(
            f"The soundfont {file} cannot be read: put the file there, or correct or remove `soundfont` under [sketch] "
            "in the configuration."
        ) from error
    return Sound(file, f"{file.name} {digest[:12]}")
