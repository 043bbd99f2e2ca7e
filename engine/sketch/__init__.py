"""The embedded default engine: makes a region from the song itself. No neural model, no weights, no GPU.

Importing this package loads neither numpy nor librosa nor scipy: `SketchEngine` imports its parts when they are needed.
"""

from __future__ import annotations

from engine.sketch.engine import SketchEngine

__all__ = ["SketchEngine"]
