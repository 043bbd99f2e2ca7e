"""The voices: from a part to sound, on the exact sample."""

from engine.sketch.voices.perform import perform

__all__ = ["perform"]
