"""At which quality the next phrase is asked for. Pure; the rules are those of `schedule`, section Quality."""

from __future__ import annotations

from bridge.live.speed import Speed

SUSTAINED = 0.9
"""A quality can be kept up if a phrase typically takes no more than this share of its own length."""

LEAST_LEAD, FULL_LEAD = 0.5, 0.75
"""Shares of the lead: quality drops if less than the first would be left, and comes back if the second would be."""


class QualityChoice:
    """Chooses between the steps 0 (best) to `lowest`, and remembers whether the lead is being restored."""

    def __init__(self, speed: Speed) -> None:
        self._speed = speed
        self._is_catching_up = False
        self._floor = 0

    def usual(self, lowest: int, music_s: float) -> int:
        """The best step that the engine keeps up with for long, for phrases of `music_s` seconds."""
        for quality in range(min(self._floor, lowest), lowest):
            if self._speed.typical_s(quality, music_s) <= SUSTAINED * music_s:
                return quality
        return lowest

    def choose(self, lowest: int, music_s: float, spare_s: float, lead_s: float) -> int:
        """The step for a phrase that is due in `spare_s` seconds, where the lead shall be `lead_s` seconds."""
        usual = self.usual(lowest, music_s)
        keep_s = lead_s * (FULL_LEAD if self._is_catching_up else LEAST_LEAD)
        chosen = lowest
        for quality in range(usual, lowest):
            if self._speed.predicted_s(quality, music_s) <= spare_s - keep_s:
                chosen = quality
                break
        self._is_catching_up = chosen > usual or self._floor > 0
        return chosen

    def fell_behind(self) -> None:
        """A slot had to be looped."""
        self._is_catching_up = True

    def gave_up(self, quality: int) -> None:
        """A phrase failed, or would have been late, at `quality`: only lower ones until one is made."""
        self._floor = quality + 1
        self._is_catching_up = True

    def made(self) -> None:
        """A phrase is there."""
        self._floor = 0
