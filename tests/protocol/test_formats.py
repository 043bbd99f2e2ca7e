"""The tables of formats, bitrates and languages say what the specification says."""

from __future__ import annotations

import pytest

from protocol.formats import LANGUAGES, UNKNOWN_LANGUAGE, OutputFormat, bitrate_range, sample_rates

# As printed in the specification: rate in Hz, then lowest and highest kbps.
MP3 = [
    (8000, 8, 64),
    (11025, 8, 64),
    (12000, 8, 64),
    (16000, 8, 160),
    (22050, 8, 160),
    (24000, 8, 160),
    (32000, 32, 320),
    (44100, 32, 320),
    (48000, 32, 320),
]
OGG_MONO = [(8000, 8, 40), (12000, 16, 48), (16000, 16, 96), (24000, 16, 80), (48000, 32, 224)]
OGG_STEREO = [(8000, 16, 80), (12000, 16, 96), (16000, 24, 192), (24000, 32, 160), (48000, 48, 256)]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("rate", "low", "high"), MP3)
def test_mp3_bitrates_are_the_specifications_in_mono_and_stereo(rate: int, low: int, high: int, channels: int) -> None:
    assert bitrate_range(OutputFormat.MP3, rate, channels) == (low, high)


@pytest.mark.parametrize(
    ("channels", "rate", "low", "high"), [(1, *row) for row in OGG_MONO] + [(2, *row) for row in OGG_STEREO]
)
def test_ogg_bitrates_are_the_specifications_for_its_channels(channels: int, rate: int, low: int, high: int) -> None:
    assert bitrate_range(OutputFormat.OGG, rate, channels) == (low, high)


def test_rates_and_channels_outside_the_tables_have_no_bitrate() -> None:
    assert bitrate_range(OutputFormat.OGG, 44100, 2) is None
    assert bitrate_range(OutputFormat.MP3, 96000, 2) is None
    assert bitrate_range(OutputFormat.MP3, 48000, 3) is None


@pytest.mark.parametrize("lossless", [OutputFormat.WAV, OutputFormat.FLAC])
def test_lossless_formats_have_neither_bitrates_nor_rates_to_choose(lossless: OutputFormat) -> None:
    assert not lossless.is_lossy
    assert bitrate_range(lossless, 48000, 2) is None
    assert sample_rates(lossless) == ()


def test_lossy_formats_list_exactly_the_rates_of_their_tables() -> None:
    assert sample_rates(OutputFormat.MP3) == tuple(row[0] for row in MP3)
    assert sample_rates(OutputFormat.OGG) == tuple(row[0] for row in OGG_STEREO)


def test_there_are_fifty_language_codes_and_unknown() -> None:
    assert len(LANGUAGES) == len(set(LANGUAGES)) == 51
    assert LANGUAGES[-1] == UNKNOWN_LANGUAGE
    codes = LANGUAGES[:-1]
    assert [code for code in codes if len(code) != 2] == ["yue"]
    assert {"en", "de", "ja", "zh", "sw", "la"} <= set(codes)
