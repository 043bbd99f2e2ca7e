"""engine/audio.py and engine/audio_cache.py: named by hazard."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import struct
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import audio_cache
from engine.audio import content_hash, open_source, probe, resample, write_wav
from protocol.errors import Cancelled, SourceChanged, SourceDamaged, SourceMissing, SourceUnreadable
from tests.support.audio import db, noise, rms, save, tones

LONG_AGO_NS = 1_500_000_000 * 10**9


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def settled(path: Path) -> Path:
    """The file as one that was written long ago, so that its hash may be remembered."""
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    return path


# --- reading straight -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8000, 44_100, 48_000, 96_000])
def test_float_wav_of_any_rate_and_channel_count_comes_bit_for_bit(
    tmp_path: Path, cache: Path, rate: int, channels: int
) -> None:
    audio = noise(3001, channels)
    source = open_source(save(tmp_path / "a.wav", audio, rate, subtype="FLOAT"), None, cache)
    assert (source.rate, source.channels, source.frames) == (rate, channels, 3001)
    assert source.read(0, 3001).tobytes() == audio.tobytes()
    assert source.read(1234, 1300).tobytes() == audio[:, 1234:1300].tobytes()
    assert source.read(7, 7).shape == (channels, 0)
    assert not (cache / "decoded").exists()


@pytest.mark.parametrize(
    ("name", "subtype", "format_name"),
    [
        ("a.wav", "PCM_16", None),
        ("a.wav", "PCM_24", None),
        ("a.aiff", "PCM_24", None),
        ("a.flac", "PCM_24", None),
        ("a.caf", "PCM_24", None),
        ("a.w64", "FLOAT", None),
        ("a.wav", "PCM_16", "RF64"),
    ],
)
def test_linear_formats_are_read_by_position_without_a_decoded_copy(
    tmp_path: Path, cache: Path, name: str, subtype: str, format_name: str | None
) -> None:
    path = save(tmp_path / name, noise(50_000), 44_100, subtype=subtype, format=format_name)
    whole, _ = soundfile.read(path, dtype="float32")
    source = open_source(path, 44_100, cache)
    assert source.frames == 50_000
    for start, stop in [(0, 1), (49_999, 50_000), (12_345, 33_333)]:
        assert np.array_equal(source.read(start, stop), whole[start:stop].T)
    assert not (cache / "decoded").exists()


def test_reading_outside_the_source_is_a_programming_error(tmp_path: Path, cache: Path) -> None:
    source = open_source(save(tmp_path / "a.wav", noise(100), 48_000), None, cache)
    for start, stop in [(-1, 10), (0, 101), (50, 40)]:
        with pytest.raises(ValueError, match="do not lie in a source of 100 frames"):
            source.read(start, stop)


def test_names_outside_ascii_are_read(tmp_path: Path, cache: Path) -> None:
    path = save(tmp_path / "Gesänge ü" / "Lied ß.wav", noise(500), 48_000)
    assert open_source(path, None, cache).frames == 500


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_is_found_in_its_other_unicode_spelling(tmp_path: Path, form: str) -> None:
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    on_disk = Path(unicodedata.normalize(form, "Gesänge ü")) / unicodedata.normalize(other, "Öl.wav")
    save(tmp_path / on_disk, noise(500), 48_000)
    asked = tmp_path / unicodedata.normalize(other, str(on_disk.parent)) / unicodedata.normalize(form, "Öl.wav")
    assert probe(asked).frames == 500


# --- decoding and resampling ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("from_rate", "to_rate"), [(44_100, 48_000), (48_000, 44_100), (96_000, 48_000), (11_025, 96_000)]
)
@pytest.mark.parametrize("frames", [1, 44_101, 300_001])
def test_a_file_at_another_rate_is_exactly_as_long_as_it_should_be_and_in_time(
    tmp_path: Path, cache: Path, from_rate: int, to_rate: int, frames: int
) -> None:
    path = save(tmp_path / "a.wav", tones(frames, from_rate, 2), from_rate, subtype="FLOAT")
    source = open_source(path, to_rate, cache)
    assert source.frames == max(1, round(Fraction(frames * to_rate, from_rate)))
    if frames > 1000:
        middle = slice(source.frames // 4, 3 * source.frames // 4)
        error = source.read(0, source.frames)[:, middle] - tones(source.frames, to_rate, 2)[:, middle]
        assert db(rms(error) / 0.12) < -90.0


@pytest.mark.parametrize("channels", [1, 6])
def test_resampling_keeps_every_channel_apart(tmp_path: Path, cache: Path, channels: int) -> None:
    audio = tones(44_100, 44_100, channels, first_hz=100.0)
    source = open_source(save(tmp_path / "a.wav", audio, 44_100, subtype="FLOAT"), 48_000, cache)
    error = source.read(4800, 43_200) - tones(38_400, 48_000, channels, first_hz=100.0, start=4800)
    assert db(rms(error) / 0.12) < -90.0


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3"])
def test_a_lossy_file_is_decoded_once_and_read_the_same_in_any_piece(tmp_path: Path, cache: Path, name: str) -> None:
    audio = tones(96_000, 48_000)
    path = save(tmp_path / name, audio, 48_000)
    source = open_source(path, None, cache)
    decoded = list((cache / "decoded").iterdir())
    assert len(decoded) == 1
    assert decoded[0].name == f"{source.sha256}_48000_2.f32"
    assert abs(source.frames - 96_000) <= 2304
    whole = source.read(0, source.frames)
    assert np.array_equal(source.read(50_000, 60_000), whole[:, 50_000:60_000])
    assert db(rms(whole[:, 24_000:72_000] - audio[:, 24_000:72_000]) / rms(audio)) < -20.0  # no shift in time
    before = decoded[0].read_bytes()
    again = open_source(path, None, cache)
    assert again.read(0, again.frames).tobytes() == whole.tobytes()
    assert decoded[0].read_bytes() == before


def test_the_resample_function_gives_the_length_asked_for() -> None:
    audio = tones(44_100, 44_100)
    assert resample(audio, 44_100, 48_000).shape == (2, 48_000)
    assert resample(audio, 44_100, 48_000, 47_999).shape == (2, 47_999)
    assert resample(audio, 44_100, 44_100).tobytes() == audio.tobytes()
    error = resample(audio, 44_100, 48_000)[:, 5000:40_000] - tones(48_000, 48_000)[:, 5000:40_000]
    assert db(rms(error) / 0.12) < -100.0


@given(st.integers(0, 5000), st.sampled_from([8000, 22_050, 44_100, 48_000, 96_000]), st.sampled_from([44_100, 48_000]))
@settings(deadline=None, max_examples=40)
def test_resampling_any_length_is_exact(frames: int, from_rate: int, to_rate: int) -> None:
    result = resample(noise(frames, 1), from_rate, to_rate)
    assert result.shape == (1, round(Fraction(frames * to_rate, from_rate)))
    assert result.dtype == np.float32


# --- bad files --------------------------------------------------------------------------------------------------------
def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"nowhere\.wav does not exist"):
        probe(tmp_path / "nowhere.wav")


def test_what_is_no_audio_is_refused_with_what_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "song.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(5000))
    with pytest.raises(SourceUnreadable, match=r"song\.m4a is not audio.*FLAC"):
        probe(tmp_path / "song.m4a")
    (tmp_path / "empty.wav").write_bytes(b"")
    with pytest.raises(SourceUnreadable, match=r"empty\.wav"):
        probe(tmp_path / "empty.wav")
    with pytest.raises(SourceUnreadable, match="is a folder"):
        probe(tmp_path)


def test_a_file_without_a_single_sample_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", noise(0), 48_000)
    with pytest.raises(SourceUnreadable, match="holds no audio"):
        probe(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("name", "format_name", "channels"),
    [("a.wav", None, 2), ("a.wav", "RF64", 2), ("a.aiff", None, 1), ("a.wav", "WAVEX", 6), ("a.w64", None, 2)],
)
def test_a_file_shorter_than_its_header_claims_is_refused_with_both_lengths(
    tmp_path: Path, name: str, format_name: str | None, channels: int
) -> None:
    path = save(tmp_path / name, noise(96_000, channels), 48_000, subtype="PCM_24", format=format_name)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceUnreadable, match=r"header says 2\.00 s, but it ends after (1\.00|0\.99) s"):
        probe(path)


@pytest.mark.parametrize("name", ["a.flac", "a.mp3"])
def test_a_compressed_file_that_ends_early_is_refused_with_both_lengths(tmp_path: Path, cache: Path, name: str) -> None:
    path = save(tmp_path / name, noise(96_000), 48_000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceUnreadable, match=r"header says 2\.00 s, but it ends after (1\.0|0\.9|0\.8)"):
        open_source(path, None, cache).read(0, 96_000)


@pytest.mark.parametrize("size", [0x7FFFF000, 0xFFFFFFFF])
def test_the_header_of_a_stream_that_knew_no_length_is_believed_by_the_file_size(tmp_path: Path, size: int) -> None:
    path = save(tmp_path / "a.wav", noise(48_000), 48_000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    for at in (4, content.index(b"data") + 4):
        content[at : at + 4] = struct.pack("<I", size)
    path.write_bytes(content)
    assert probe(path).frames == 48_000


def test_chunks_after_the_audio_and_of_odd_length_do_not_disturb(tmp_path: Path, cache: Path) -> None:
    path = save(tmp_path / "a.wav", noise(1001, 1), 48_000, subtype="PCM_24")
    content = path.read_bytes()
    chunk = b"iXML" + struct.pack("<I", 5) + b"<x/>\n\0"
    at = content.index(b"data")
    content = content[:at] + chunk + content[at:] + b"\0" * (len(content) % 2) + chunk
    path.write_bytes(b"RIFF" + struct.pack("<I", len(content) - 8) + content[8:])
    assert open_source(path, None, cache).read(0, 1001).shape == (1, 1001)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [48_000, 44_100])
def test_a_broken_sample_is_named_with_its_time_and_only_where_it_is_read(
    tmp_path: Path, cache: Path, bad: float, rate: int
) -> None:
    audio = noise(96_000)
    audio[1, 60_000] = bad
    source = open_source(save(tmp_path / "a.wav", audio, 48_000, subtype="FLOAT"), rate, cache)
    with pytest.raises(SourceDamaged, match=r"a\.wav holds a broken sample .* at 1\.250 s"):
        source.read(0, source.frames)
    assert np.isfinite(source.read(0, rate)).all()
    assert np.isfinite(source.read(rate * 3 // 2, source.frames)).all()


def test_a_file_that_changes_under_the_job_is_noticed(tmp_path: Path, cache: Path) -> None:
    path = settled(save(tmp_path / "a.wav", noise(1000), 48_000))
    source = open_source(path, None, cache)
    save(path, noise(1000, seed=2), 48_000)
    with pytest.raises(SourceChanged, match="was changed"):
        source.read(0, 10)


def test_a_file_that_vanishes_under_the_job_is_missing(tmp_path: Path, cache: Path) -> None:
    path = save(tmp_path / "a.wav", noise(1000), 48_000)
    source = open_source(path, None, cache)
    path.unlink()
    with pytest.raises(SourceMissing):
        source.read(0, 10)


# --- hashes -----------------------------------------------------------------------------------------------------------
def test_a_hash_is_taken_once_and_again_when_the_file_changes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = settled(save(tmp_path / "a.wav", noise(1000), 48_000))
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert content_hash(path, cache) == expected
    taken = []
    real = audio_cache._sha256
    monkeypatch.setattr(audio_cache, "_sha256", lambda *args: taken.append(args) or real(*args))
    assert content_hash(path, cache) == expected
    assert not taken
    save(path, noise(1000, seed=2), 48_000)
    os.utime(path, ns=(LONG_AGO_NS + 1, LONG_AGO_NS + 1))
    assert content_hash(path, cache) == hashlib.sha256(path.read_bytes()).hexdigest() != expected
    assert len(taken) == 1


def test_a_hash_of_a_file_written_just_now_is_not_remembered(tmp_path: Path, cache: Path) -> None:
    path = settled(save(tmp_path / "a.wav", noise(1000), 48_000))
    first = content_hash(path, cache, clock=lambda: LONG_AGO_NS / 1e9 + 1.0)
    save(path, noise(1000, seed=2), 48_000)
    settled(path)  # the same size and, on a coarse clock, the same time
    assert content_hash(path, cache) != first


@pytest.mark.parametrize("content", [b"this is no database" * 100, b""])
def test_a_damaged_hash_cache_costs_time_and_no_job(tmp_path: Path, cache: Path, content: bytes) -> None:
    path = settled(save(tmp_path / "a.wav", noise(1000), 48_000))
    cache.mkdir()
    (cache / "hashes.sqlite3").write_bytes(content)
    assert content_hash(path, cache) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_many_threads_share_one_hash_cache(tmp_path: Path, cache: Path) -> None:
    paths = [settled(save(tmp_path / f"{n}.wav", noise(500, seed=n), 48_000)) for n in range(8)]
    with ThreadPoolExecutor(4) as pool:
        hashes = list(pool.map(lambda path: content_hash(path, cache), paths * 3))
    assert hashes == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths] * 3
    database = sqlite3.connect(cache / "hashes.sqlite3")
    assert database.execute("SELECT count(*) FROM hashes").fetchone() == (8,)
    database.close()


# --- decoded copies ---------------------------------------------------------------------------------------------------
def test_the_least_recently_used_copies_go_and_nothing_of_others(tmp_path: Path, cache: Path) -> None:
    paths = [save(tmp_path / f"{n}.wav", noise(44_100, 1, seed=n), 44_100) for n in range(3)]
    sources = [open_source(path, 48_000, cache) for path in paths[:2]]
    for number, source in enumerate(sources):
        copy = cache / "decoded" / f"{source.sha256}_48000_1.f32"
        os.utime(copy, (2_000_000 - number, 2_000_000 - number))  # the second was used longer ago
    foreign = cache / "decoded" / "holiday.f32"
    foreign.write_bytes(bytes(1_000_000))
    newest = open_source(paths[2], 48_000, cache, limit_bytes=2 * 48_000 * 4)
    kept = {path.name.split("_")[0] for path in (cache / "decoded").iterdir()}
    assert kept == {sources[0].sha256, newest.sha256, "holiday.f32"}
    assert newest.read(0, 48_000).shape == (1, 48_000)


def test_a_copy_larger_than_the_limit_is_still_used(tmp_path: Path, cache: Path) -> None:
    path = save(tmp_path / "a.wav", noise(44_100), 44_100)
    assert open_source(path, 48_000, cache, limit_bytes=10).read(0, 48_000).shape == (2, 48_000)
    assert len(list((cache / "decoded").iterdir())) == 1


def test_cancelling_while_decoding_leaves_no_file(tmp_path: Path, cache: Path) -> None:
    path = save(tmp_path / "a.ogg", noise(600_000), 48_000)
    seen: list[float] = []

    def step(done: float) -> None:
        seen.append(done)
        if done > 0.6:
            raise Cancelled("The job was cancelled.")

    with pytest.raises(Cancelled):
        open_source(path, 44_100, cache, step=step)
    assert seen == sorted(seen)
    assert list((cache / "decoded").iterdir()) == []


# --- writing ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_float_wav_keeps_every_bit_and_is_the_same_file_every_time(tmp_path: Path, channels: int) -> None:
    audio = noise(4801, channels, level=2.0)
    assert write_wav(tmp_path / "a.wav", audio, 44_100, "FLOAT") == 0
    assert write_wav(tmp_path / "b.wav", audio, 44_100, "FLOAT") == 0
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert b"PEAK" not in (tmp_path / "a.wav").read_bytes()[:200]
    info = probe(tmp_path / "a.wav")
    assert (info.format, info.subtype, info.rate, info.frames) == ("WAV", "FLOAT", 44_100, 4801)
    assert soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)[0].T.tobytes() == audio.tobytes()


def test_24_bits_round_to_the_nearest_step_and_keep_what_came_from_24_bits(tmp_path: Path) -> None:
    audio = noise(48_000)
    assert write_wav(tmp_path / "a.wav", audio, 48_000, "PCM_24") == 0
    once = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)[0].T
    assert probe(tmp_path / "a.wav").subtype == "PCM_24"
    assert np.abs(once.astype(np.float64) - audio).max() <= 2.0**-24
    write_wav(tmp_path / "b.wav", once, 48_000, "PCM_24")
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_24_bits_clip_at_full_scale_and_say_how_often(tmp_path: Path) -> None:
    audio = np.array([[0.5, 1.0, 1.5, -1.0, -1.5]], dtype=np.float32)
    assert write_wav(tmp_path / "a.wav", audio, 48_000, "PCM_24") == 3
    result = soundfile.read(tmp_path / "a.wav")[0]
    assert result.tolist() == [0.5, 1 - 2**-23, 1 - 2**-23, -1.0, -1.0]


def test_a_write_that_fails_leaves_neither_half_a_file_nor_the_old_one_damaged(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", noise(100), 48_000, "FLOAT")
    before = (tmp_path / "a.wav").read_bytes()
    with pytest.raises(struct.error):
        write_wav(tmp_path / "a.wav", noise(100), -1, "FLOAT")
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert (tmp_path / "a.wav").read_bytes() == before
