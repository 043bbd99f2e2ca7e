"""bridge/api/assemble.py: the song with new music in it, and every other sample as it was."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.api.assemble import write_result
from engine.encode import Encoding
from protocol.errors import DiskFull, EngineError, SourceDamaged, SourceMissing, SourceUnreadable
from protocol.formats import OutputFormat
from protocol.job import ProjectRef, Recipe, Take
from tests.support.audio import noise, save
from tests.support.deliveries import make_job, mounted

RATE = 44_100
WAV, FLAC = Encoding(OutputFormat.WAV), Encoding(OutputFormat.FLAC)


def make_take(folder: Path, start: int, frames: int, *, channels: int = 2, rate: int = RATE, seed: int = 9) -> Take:
    """A float stem of noise on the 24-bit grid, as it was delivered, `start` frames after project time 0."""
    audio = np.round(noise(frames, channels, seed=seed) * 2**23) / 2**23
    file = save(folder / f"take_{start}_{seed}.wav", audio.astype(np.float32), rate, subtype="FLOAT")
    request = make_job(ProjectRef(folder=str(folder), media_folder=str(folder))).request
    return Take(
        number=1,
        file=str(file),
        start_s=start / rate,
        start_frame=start,
        frames=frames,
        sample_rate=rate,
        seed=seed,
        score=50.0,
        recipe=Recipe(request=request, seed=seed, sample_rate=rate, engine="test", engine_version="1"),
    )


def held(path: Path | str) -> np.ndarray:
    """``(frames, channels)``, exactly."""
    return soundfile.read(path, dtype="float64", always_2d=True)[0]


@pytest.mark.parametrize("encoding", [WAV, FLAC])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24"])
def test_outside_the_region_every_sample_is_the_sources(tmp_path: Path, subtype: str, encoding: Encoding) -> None:
    source = save(tmp_path / "song.wav", noise(100_003), RATE, subtype=subtype)
    before = source.read_bytes()
    take = make_take(tmp_path, 40_001, 20_000)
    made = write_result(tmp_path / "out" / "song.1", [take], source, encoding)
    result, song = held(made.path), held(source)
    assert (made.rate, made.channels, made.frames, made.clipped) == (RATE, 2, 100_003, 0)
    assert np.array_equal(result[:40_001], song[:40_001])
    assert np.array_equal(result[40_001:60_001], held(take.file))
    assert np.array_equal(result[60_001:], song[60_001:])
    assert source.read_bytes() == before
    assert [path.name for path in made.path.parent.iterdir()] == [f"song.1{encoding.suffix}"]


@pytest.mark.parametrize("subtype", ["PCM_32", "FLOAT", "DOUBLE"])
def test_a_source_finer_than_24_bits_is_kept_by_wav(tmp_path: Path, subtype: str) -> None:
    audio = np.random.default_rng(3).uniform(-1.4, 1.4, (50_000, 2))
    if subtype == "PCM_32":
        audio = np.random.default_rng(3).integers(-(2**31), 2**31, (50_000, 2), dtype=np.int32)
    source = tmp_path / "song.wav"
    soundfile.write(source, audio, RATE, subtype=subtype)
    made = write_result(tmp_path / "result", [make_take(tmp_path, 10_000, 10_000)], source, WAV)
    assert np.array_equal(held(made.path)[:10_000], held(source)[:10_000])
    assert np.array_equal(held(made.path)[20_000:], held(source)[20_000:])
    assert soundfile.info(made.path).subtype == subtype


@given(st.data())
@settings(max_examples=40)
def test_any_takes_lie_on_their_frames_and_the_result_is_as_long_as_all_of_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("any")
    frames = data.draw(st.integers(1, 90_000), "frames of the source")
    spans = data.draw(
        st.lists(st.tuples(st.integers(-50_000, 100_000), st.integers(1, 60_000)), min_size=1, max_size=3), "takes"
    )
    source = save(folder / "song.wav", noise(frames, 1), RATE, subtype="PCM_24")
    takes = [make_take(folder, start, length, channels=1, seed=seed) for seed, (start, length) in enumerate(spans, 1)]
    made = write_result(folder / "result", takes, source, WAV)

    first = min(0, *(start for start, _ in spans)) if spans else 0
    last = max(frames, *(start + length for start, length in spans))
    expected = np.zeros((last - first, 1))
    expected[-first : frames - first] = held(source)
    for take in takes:
        expected[take.start_frame - first : take.start_frame - first + take.frames] = held(take.file)
    assert np.array_equal(held(made.path), expected)


def test_without_a_source_the_take_is_the_result(tmp_path: Path) -> None:
    take = make_take(tmp_path, 0, 70_000, rate=48_000)
    made = write_result(tmp_path / "result", [take], None, FLAC)
    assert np.array_equal(held(made.path), held(take.file))
    assert (made.rate, made.mime, made.bytes) == (48_000, "audio/flac", made.path.stat().st_size)


@pytest.mark.parametrize("name", ["song.mp3", "song.ogg"])
def test_a_lossy_source_comes_decoded_from_its_beginning(tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    soundfile.write(source, noise(100_000).T, RATE)
    made = write_result(tmp_path / "result", [make_take(tmp_path, 60_000, 10_000)], source, WAV)
    song = soundfile.read(source, dtype="float64")[0]
    result = held(made.path)
    assert made.frames == 100_000
    assert np.abs(result[:60_000] - song[:60_000]).max() <= 2**-24
    assert np.abs(result[70_000:] - song[70_000:]).max() <= 2**-24


def test_lossy_results_are_made_of_the_whole(tmp_path: Path) -> None:
    source = save(tmp_path / "song.wav", noise(3 * RATE, 1), RATE, subtype="PCM_16")
    encoding = Encoding(OutputFormat.MP3, 24_000, 2, 96)
    made = write_result(tmp_path / "result", [make_take(tmp_path, RATE, RATE, channels=1)], source, encoding)
    info = soundfile.info(made.path)
    assert (info.samplerate, info.channels, info.frames) == (24_000, 2, 72_000)
    assert (made.bitrate_kbps, made.path.name, made.mime) == (96, "result.mp3", "audio/mpeg")


def test_a_second_try_replaces_the_first(tmp_path: Path) -> None:
    for seed in (1, 2):
        take = make_take(tmp_path, 0, 1000, seed=seed)
        made = write_result(tmp_path / "result", [take], None, WAV)
        assert np.array_equal(held(made.path), held(take.file))


def test_what_is_broken_is_said_in_words_and_leaves_no_file(tmp_path: Path) -> None:
    audio = noise(50_000)
    audio[0, 30_000] = np.nan
    broken = save(tmp_path / "broken.wav", audio, RATE, subtype="FLOAT")
    fine = save(tmp_path / "fine.wav", noise(50_000), RATE, subtype="PCM_16")
    flac = save(tmp_path / "cut.flac", noise(500_000), RATE, subtype="PCM_16")
    flac.write_bytes(flac.read_bytes()[:400_000])
    take, lost = make_take(tmp_path, 0, 1000), make_take(tmp_path, 0, 1000, seed=10)
    Path(lost.file).unlink()
    wrong = make_take(tmp_path, 0, 1000, rate=48_000, seed=11)
    out = tmp_path / "out"
    for takes, source, kind in (
        ([take], broken, SourceDamaged),
        ([take], flac, SourceUnreadable),
        ([take], tmp_path / "none.wav", SourceMissing),
        ([lost], fine, EngineError),
        ([wrong], fine, EngineError),
    ):
        with pytest.raises(kind):
            write_result(out / "result", takes, source, WAV)
        assert list(out.iterdir()) == []


def test_a_full_disk_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    take = make_take(tmp_path, 0, 200_000)
    with mounted(tmp_path / "disk", "256k"):
        with pytest.raises(DiskFull):
            write_result(tmp_path / "disk" / "result", [take], None, WAV)
        assert list((tmp_path / "disk").iterdir()) == []


def test_memory_does_not_grow_with_the_song(tmp_path: Path) -> None:
    source = tmp_path / "song.wav"
    with soundfile.SoundFile(source, "w", RATE, 2, subtype="PCM_16") as file:
        for _ in range(60):
            file.write(noise(RATE).T)
    take = make_take(tmp_path, 10 * RATE, 20 * RATE)
    tracemalloc.start()
    try:
        write_result(tmp_path / "result", [take], source, WAV)
        assert tracemalloc.get_traced_memory()[1] < 8e6  # the song is 42 MB as doubles
    finally:
        tracemalloc.stop()
