"""engine/encode.py and engine/encode_bitrate.py: what was asked is what lies in the file."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import encode as module
from engine.audio import resample
from engine.encode import Encoded, Encoding, EncodingFailed, encode
from engine.encode_bitrate import mp3_rates_kbps, quality_for
from protocol.errors import BadArgument, DiskFull
from protocol.formats import BITRATES_KBPS, OutputFormat, sample_rates
from protocol.task import AudioSettings, Task
from tests.support.audio import noise, tones
from tests.support.deliveries import mounted

MP3, OGG, FLAC, WAV = OutputFormat.MP3, OutputFormat.OGG, OutputFormat.FLAC, OutputFormat.WAV

MP3_CELLS = [(rate, channels) for rate in sample_rates(MP3) for channels in (1, 2)]
OGG_CELLS = [(rate, channels) for rate in sample_rates(OGG) for channels in (1, 2)]


def music(rate: int, seconds: float, channels: int) -> np.ndarray:
    """Chords that decay over noise that comes and goes: something an encoder has to work for."""
    frames = round(rate * seconds)
    time = np.arange(frames) / rate
    audio = tones(frames, rate, channels) * np.exp(-3 * (time % 0.5))
    return (audio + noise(frames, channels, level=0.08) * np.exp(-12 * (time % 0.25))).astype(np.float32)


def in_blocks(audio: np.ndarray, *sizes: int) -> Iterator[np.ndarray]:
    at = 0
    for size in sizes:
        yield audio[:, at : at + size]
        at += size
    yield audio[:, at:]


def mp3_headers(content: bytes) -> list[tuple[int, int]]:
    """(kbps, Hz) of every frame, found by the sync word that follows where a frame ends."""
    kbps1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    kbps2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    at, found = 0, []
    while at < len(content):
        one, two, three = content[at : at + 3]
        assert one == 0xFF, f"no frame at byte {at}"
        assert two & 0xE6 == 0xE2, f"no Layer III frame at byte {at}"
        is_one = two >> 3 & 3 == 3
        rate = (44_100, 48_000, 32_000)[three >> 2 & 3] >> {3: 0, 2: 1, 0: 2}[two >> 3 & 3]
        kbps = (kbps1 if is_one else kbps2)[three >> 4]
        found.append((kbps, rate))
        at += (144_000 if is_one else 72_000) * kbps // rate + (three >> 1 & 1)
    return found


# --- MP3 --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("rate", "channels"), MP3_CELLS)
def test_every_bitrate_of_mp3_is_the_one_of_all_frames(tmp_path: Path, rate: int, channels: int) -> None:
    audio = music(rate, 0.5, channels)
    low, high = BITRATES_KBPS[MP3, channels][rate]
    rates = mp3_rates_kbps(rate, channels)
    assert (rates[0], rates[-1]) == (low, high)
    for kbps in rates:
        made = encode([audio], rate, channels, tmp_path / "a.mp3", Encoding(MP3, rate, channels, kbps))
        assert set(mp3_headers(made.path.read_bytes())) == {(kbps, rate)}
        assert made.bitrate_kbps == kbps


@given(st.sampled_from(MP3_CELLS), st.data())
@settings(max_examples=40)
def test_a_bitrate_that_mp3_does_not_have_becomes_the_nearest_and_is_said(
    tmp_path_factory: pytest.TempPathFactory, cell: tuple[int, int], data: st.DataObject
) -> None:
    rate, channels = cell
    asked = data.draw(st.integers(*BITRATES_KBPS[MP3, channels][rate]))
    target = tmp_path_factory.getbasetemp() / "nearest.mp3"
    made = encode([music(rate, 0.1, channels)], rate, channels, target, Encoding(MP3, rate, channels, asked))
    assert {made.bitrate_kbps} == {kbps for kbps, _ in mp3_headers(target.read_bytes())}
    assert abs(made.bitrate_kbps - asked) == min(abs(kbps - asked) for kbps in mp3_rates_kbps(rate, channels))


def test_an_mp3_plays_exactly_as_long_as_its_audio(tmp_path: Path) -> None:
    audio = music(48_000, 3.217, 2)
    made = encode([audio], 48_000, 2, tmp_path / "a.mp3", Encoding(MP3, bitrate=256))
    played, rate = soundfile.read(made.path, dtype="float32")
    assert (rate, played.shape) == (48_000, (audio.shape[1], 2))
    shifts = np.correlate(played[10_000:60_000, 0], audio[0, 10_050:59_950], mode="valid")
    assert int(np.argmax(shifts)) == 50  # no delay either


# --- Vorbis -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("rate", "channels"), OGG_CELLS)
def test_vorbis_comes_near_what_was_asked_and_never_over_the_table(tmp_path: Path, rate: int, channels: int) -> None:
    audio = music(rate, 4, channels)
    low, high = BITRATES_KBPS[OGG, channels][rate]

    def made(bitrate: int | None) -> Encoded:
        made = encode([audio], rate, channels, tmp_path / "a.ogg", Encoding(OGG, rate, channels, bitrate))
        assert made.bitrate_kbps == pytest.approx(made.path.stat().st_size * 8 * rate / audio.shape[1] / 1000)
        assert soundfile.info(made.path).frames == audio.shape[1] == made.frames
        return made

    least, most = made(low).bitrate_kbps, made(high).bitrate_kbps
    assert least is not None
    assert most is not None
    assert least < most <= high
    middle = round((least + most) / 2)
    assert made(middle).bitrate_kbps == pytest.approx(middle, rel=0.03)
    assert low < (made(None).bitrate_kbps or 0) <= high


def test_a_long_ogg_is_searched_on_excerpts_and_still_right_as_a_whole(tmp_path: Path) -> None:
    rate = 24_000
    audio = music(rate, 64, 1)
    audio[:, : 40 * rate] *= 0.02  # what the excerpts say is not what the whole is
    made = encode([audio], rate, 1, tmp_path / "a.ogg", Encoding(OGG, rate, 1, 48))
    assert made.bitrate_kbps == pytest.approx(48, rel=0.03)


@given(
    st.floats(8, 400),
    st.floats(8, 400),
    st.floats(0.5, 2.0),
    st.lists(st.floats(1.0, 500.0), min_size=2, max_size=6).map(sorted),
)
def test_the_search_keeps_below_the_highest_and_ends_at_once_for_any_encoder(
    asked: float, highest: float, deviation: float, curve: list[float]
) -> None:
    passes: list[float] = []
    places = np.linspace(0, 1, len(curve))

    def excerpt(quality: float) -> float:
        return float(np.interp(quality, places, curve))

    def whole(quality: float) -> float:
        passes.append(quality)
        return deviation * excerpt(quality)

    kbps = quality_for(min(asked, highest), highest, whole=whole, excerpt=excerpt)
    assert len(passes) <= 5
    assert kbps == deviation * excerpt(passes[-1])  # what lies on the disk is what was reported
    assert kbps <= highest or all(deviation * excerpt(tried) > highest for tried in passes)


# --- WAV and FLAC -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("chosen", [WAV, FLAC])
@pytest.mark.parametrize("bits", [8, 16, 24])
def test_wav_and_flac_keep_every_bit_of_integer_sources(tmp_path: Path, chosen: OutputFormat, bits: int) -> None:
    full = 2 ** (bits - 1)
    steps = np.random.default_rng(1).integers(-full, full, (2, 70_000))
    steps[:, :2] = [[-full, full - 1]] * 2
    made = encode([steps / full], 44_100, 2, tmp_path / "a.x", Encoding(chosen))
    held, rate = soundfile.read(made.path, dtype="float64")
    assert np.array_equal(held.T * full, steps)
    assert (rate, made.clipped, made.bitrate_kbps) == (44_100, 0, None)
    assert soundfile.info(made.path).subtype == "PCM_24"


@given(st.lists(st.integers(0, 40_000), max_size=5))
@settings(max_examples=15)
def test_how_the_audio_is_cut_into_blocks_does_not_show(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    audio = noise(60_001)
    whole, cut = (
        encode(blocks, 44_100, 2, folder / f"{name}.wav", Encoding(WAV, rate=32_000)).path.read_bytes()
        for name, blocks in (("whole", [audio]), ("cut", in_blocks(audio, *sizes)))
    )
    assert whole == cut


@pytest.mark.parametrize("rates", [(44_100, 48_000), (48_000, 44_100), (96_000, 8_000), (44_100, 12_000)])
def test_another_rate_is_reached_without_delay_and_to_the_frame(tmp_path: Path, rates: tuple[int, int]) -> None:
    audio = tones(50_021, rates[0])
    made = encode(in_blocks(audio, 10_000, 1), rates[0], 2, tmp_path / "a.wav", Encoding(WAV, rate=rates[1]))
    held, rate = soundfile.read(made.path, dtype="float32")
    expected = resample(audio, *rates)
    assert rate == rates[1]
    assert held.T.shape == expected.shape
    assert np.abs(held.T - expected).max() < 2e-3


def test_peaks_over_full_scale_are_clipped_and_counted_only_in_integers(tmp_path: Path) -> None:
    audio = np.full((1, 48_000), 0.25, np.float32)
    audio[0, 1000:1003] = (1.5, -1.5, 1.0)
    for chosen in (WAV, FLAC):
        made = encode([audio], 48_000, 1, tmp_path / "a", Encoding(chosen))
        held, _ = soundfile.read(made.path, dtype="float64")
        assert made.clipped == 3
        assert np.array_equal(held[1000:1003], [1 - 2**-23, -1.0, 1 - 2**-23])
    made = encode([audio], 48_000, 1, tmp_path / "a", Encoding(WAV), samples="FLOAT")
    assert np.array_equal(soundfile.read(made.path, dtype="float32")[0], audio[0])
    loud = tones(96_000, 48_000, 1) * 4
    made = encode([loud], 48_000, 1, tmp_path / "a", Encoding(OGG, 48_000, 1))
    assert (made.clipped, np.abs(soundfile.read(made.path)[0]).max() > 1.1) == (0, True)


def test_a_wav_that_would_not_fit_is_refused_before_it_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WAV_LIMIT", 6 * 48_000)
    encode([noise(48_000)], 48_000, 2, tmp_path / "a.wav", Encoding(WAV))
    with pytest.raises(EncodingFailed, match="ask for FLAC"):
        encode([noise(48_001)], 48_000, 2, tmp_path / "a.wav", Encoding(WAV))


# --- for all ----------------------------------------------------------------------------------------------------------
def test_what_a_task_asks_for() -> None:
    def of(chosen: OutputFormat, **asked: object) -> Encoding:
        return Encoding.of(Task(output_format=chosen, audio_settings=AudioSettings(**asked) if asked else None))

    assert of(MP3) == Encoding(MP3, 48_000, 2)
    assert of(OGG, bitrate=64, channels=1) == Encoding(OGG, 48_000, 1, 64)
    assert of(MP3, sample_rate=8000) == Encoding(MP3, 8000, 2)
    assert of(FLAC) == Encoding(FLAC)
    assert [Encoding(each).suffix for each in OutputFormat] == [".mp3", ".wav", ".flac", ".ogg"]


@pytest.mark.parametrize(
    "encoding",
    [
        Encoding(MP3, 48_000, 2, 31),
        Encoding(MP3, 8_000, 1, 65),
        Encoding(OGG, 48_000, 1, 225),
        Encoding(OGG, 44_100, 2),
        Encoding(MP3, 96_000, 2),
        Encoding(MP3, 48_000, 3),
    ],
)
def test_what_the_tables_do_not_have_is_refused_and_nothing_written(tmp_path: Path, encoding: Encoding) -> None:
    with pytest.raises(BadArgument, match="ask for"):
        encode([noise(1000)], 48_000, 2, tmp_path / "a", encoding)
    assert list(tmp_path.iterdir()) == []


def test_channels_are_repeated_or_averaged_and_more_than_two_refused_in_lossy_files(tmp_path: Path) -> None:
    mono, stereo = tones(48_000, 48_000, 1), tones(48_000, 48_000, 2)
    made = encode([mono], 48_000, 1, tmp_path / "a", Encoding(WAV, channels=2))
    held, _ = soundfile.read(made.path, dtype="float32")
    assert np.array_equal(held[:, 0], held[:, 1])
    made = encode([stereo], 48_000, 2, tmp_path / "a", Encoding(WAV, channels=1))
    held, _ = soundfile.read(made.path, dtype="float32")
    assert np.abs(held - stereo.mean(axis=0)).max() < 2**-23
    with pytest.raises(EncodingFailed, match="6 channels"):
        encode([noise(48_000, 6)], 48_000, 6, tmp_path / "a", Encoding.of(Task(output_format=MP3)))


@pytest.mark.parametrize("encoding", [Encoding(WAV), Encoding(FLAC), Encoding(MP3), Encoding(OGG, 16_000, 1, 40)])
def test_memory_does_not_grow_with_the_length(tmp_path: Path, encoding: Encoding) -> None:
    block = music(48_000, 1, 2)
    tracemalloc.start()
    try:
        made = encode((block for _ in range(20)), 48_000, 2, tmp_path / "a", encoding)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert made.frames == 20 * made.rate  # 7.7 MB as floats
    assert peak < 4e6


@pytest.mark.parametrize("encoding", [Encoding(WAV), Encoding(FLAC), Encoding(MP3), Encoding(OGG)])
def test_a_full_disk_is_said_and_never_a_short_file(tmp_path: Path, encoding: Encoding) -> None:
    with mounted(tmp_path / "disk", "64k"), pytest.raises(DiskFull, match="Free some room"):
        encode([noise(20 * 48_000)], 48_000, 2, tmp_path / "disk" / "a", encoding)
