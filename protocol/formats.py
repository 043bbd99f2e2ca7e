"""What a delivered file may be and what a singer may sing: formats, bitrates, sample rates, languages.

Closed tables of facts, so that every door refuses the same things in the same words. Sources: the integration
specification of ACE-Step v1.5 XL Base (formats, bitrates) and the language table that the model was released with.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

MODEL_RATE = 48_000
"""Hz: what the model produces, and so the rate of a lossy file whose `sampleRate` is not given."""


class OutputFormat(StrEnum):
    """The file formats of results."""

    MP3 = "MP3"
    WAV = "WAV"
    FLAC = "FLAC"
    OGG = "OGG"

    @property
    def is_lossy(self) -> bool:
        """True if the format takes `audioSettings`."""
        return self in (OutputFormat.MP3, OutputFormat.OGG)


_LOW, _MIDDLE, _HIGH = (8, 64), (8, 160), (32, 320)

_MP3 = {
    8_000: _LOW, 11_025: _LOW, 12_000: _LOW,
    16_000: _MIDDLE, 22_050: _MIDDLE, 24_000: _MIDDLE,
    32_000: _HIGH, 44_100: _HIGH, 48_000: _HIGH,
}  # fmt: skip

_OGG_MONO = {8_000: (8, 40), 12_000: (16, 48), 16_000: (16, 96), 24_000: (16, 80), 48_000: (32, 224)}
_OGG_STEREO = {8_000: (16, 80), 12_000: (16, 96), 16_000: (24, 192), 24_000: (32, 160), 48_000: (48, 256)}

BITRATES_KBPS: Mapping[tuple[OutputFormat, int], Mapping[int, tuple[int, int]]] = MappingProxyType(
    {
        (OutputFormat.MP3, 1): MappingProxyType(_MP3),
        (OutputFormat.MP3, 2): MappingProxyType(_MP3),
        (OutputFormat.OGG, 1): MappingProxyType(_OGG_MONO),
        (OutputFormat.OGG, 2): MappingProxyType(_OGG_STEREO),
    }
)
"""``(format, channels) -> {sample rate in Hz: (lowest, highest) bitrate in kbps, both included}``."""

LOSSY_RATES = tuple(sorted(_MP3))
"""Every sample rate (Hz) that some lossy format allows."""


def sample_rates(output_format: OutputFormat) -> tuple[int, ...]:
    """The sample rates in Hz that a lossy format allows, ascending; empty for WAV and FLAC, which take no settings."""
    return tuple(sorted(BITRATES_KBPS.get((output_format, 2), ())))


def bitrate_range(output_format: OutputFormat, sample_rate: int, channels: int) -> tuple[int, int] | None:
    """Lowest and highest bitrate in kbps, both included; None if the format has no bitrate or not that rate (Hz)."""
    return BITRATES_KBPS.get((output_format, channels), {}).get(sample_rate)


UNKNOWN_LANGUAGE = "unknown"
"""For instrumental music, or to let the model decide."""

LANGUAGES = (
    *("ar", "az", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hr"),
    *("ht", "hu", "id", "is", "it", "ja", "ko", "la", "lt", "ms", "ne", "nl", "no", "pa", "pl", "pt", "ro"),
    *("ru", "sa", "sk", "sr", "sv", "sw", "ta", "te", "th", "tl", "tr", "uk", "ur", "vi", "yue", "zh"),
    UNKNOWN_LANGUAGE,
)
"""The 51 values of `vocalLanguage`: two-letter ISO 639-1 codes, ``yue`` (Cantonese, which has none), ``unknown``."""
