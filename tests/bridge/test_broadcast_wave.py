from __future__ import annotations

import io
import json
import os
import struct
import warnings
import wave
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import wavfile

from bridge.broadcast_wave import (
    Origin,
    data_sha256,
    probe,
    read_layout,
    read_recipe,
    write_broadcast_wave,
)
from protocol import PROTOCOL_VERSION
from protocol.errors import ProjectError, SourceMissing, SourceUnreadable, StembridgeError
from protocol.job import Recipe
from tests.support.deliveries import make_job, project_ref

ORIGIN = Origin(
    time_reference=5 * 2**32 + 17,
    description="repaint bars-17-20 Gesänge ü “quoted” 🎵",
    reference="20261122-223105-3f9a2c/1",
    created=datetime(2026, 11, 22, 22, 31, 5, tzinfo=UTC),
    made_by="Stembridge 0.1.0, sketch 1",
    project="Gesänge ü & <Söhne>\x01",
    scene="repaint bars-17-20",
    take="1",
    track="drums",
)


def make_recipe(**changes: object) -> Recipe:
    request = make_job(project_ref(Path("/project"))).request
    fields = {"request": request, "seed": 7, "sample_rate": 48_000, "engine": "sketch", "engine_version": "1"}
    return Recipe.model_validate({**fields, **changes})


def spool(path: Path, *, subtype: str = "FLOAT", channels: int = 2, frames: int = 1001, form: str = "WAV") -> Path:
    samples = np.random.default_rng(3).uniform(-1, 1, (frames, channels)).astype(np.float32)
    soundfile.write(path, samples, 44_100, subtype=subtype, format=form)
    return path


def stem(tmp_path: Path, source: Path, *, origin: Origin = ORIGIN, recipe: str | None = None) -> Path:
    path = tmp_path / "stem.wav"
    with path.open("wb") as out:
        write_broadcast_wave(source, out, origin, make_recipe().model_dump_json() if recipe is None else recipe)
    return path


def payloads(path: Path) -> dict[bytes, bytes]:
    with path.open("rb") as file:
        layout = read_layout(file, path.name)
        content = path.read_bytes()
    return {chunk.id: content[chunk.offset : chunk.offset + chunk.size] for chunk in layout.chunks}


# --- the audio --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("frames", [1, 2, 999, 70_001])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    ("form", "subtype"), [("WAV", "FLOAT"), ("WAV", "PCM_24"), ("WAVEX", "FLOAT"), ("RF64", "PCM_24")]
)
def test_every_reader_finds_the_same_samples(
    tmp_path: Path, form: str, subtype: str, channels: int, frames: int
) -> None:
    source = spool(tmp_path / "spool.wav", subtype=subtype, channels=channels, frames=frames, form=form)
    path = stem(tmp_path, source)
    expected, rate = soundfile.read(source, dtype="int32" if subtype == "PCM_24" else "float32", always_2d=True)
    got, got_rate = soundfile.read(path, dtype=expected.dtype.name, always_2d=True)
    assert got_rate == rate
    np.testing.assert_array_equal(got, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # it says which chunks it skips
        scipy_rate, scipy_got = wavfile.read(path)
    assert scipy_rate == rate
    np.testing.assert_array_equal(scipy_got.reshape(expected.shape), expected)
    if struct.unpack_from("<H", payloads(path)[b"fmt "])[0] == 1:
        with wave.open(str(path)) as reader:
            assert (reader.getnchannels(), reader.getnframes(), reader.getsampwidth()) == (channels, frames, 3)
            raw = np.frombuffer(reader.readframes(frames), np.uint8).reshape(-1, 3)
        np.testing.assert_array_equal(np.pad(raw, ((0, 0), (1, 0))).view("<i4").reshape(expected.shape), expected)


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_24"])
def test_chunks_are_word_aligned_and_the_riff_size_is_the_files(tmp_path: Path, subtype: str, frames: int) -> None:
    path = stem(tmp_path, spool(tmp_path / "spool.wav", subtype=subtype, channels=1, frames=frames), recipe='{"odd":1}')
    content = path.read_bytes()
    assert struct.unpack_from("<4sI4s", content) == (b"RIFF", len(content) - 8, b"WAVE")
    with path.open("rb") as file:
        chunks = read_layout(file, path.name).chunks
    assert all(chunk.offset % 2 == 0 for chunk in chunks)
    fact = [b"fact"] if subtype == "FLOAT" else []
    assert [chunk.id for chunk in chunks] == [b"fmt ", *fact, b"bext", b"iXML", b"stbr", b"data"]


def test_the_same_recipe_gives_the_same_file_byte_for_byte(tmp_path: Path) -> None:
    source = spool(tmp_path / "spool.wav")
    recipe = make_recipe().model_dump_json()
    first = stem(tmp_path, source, recipe=recipe).read_bytes()
    with_other_peak_time = bytearray(source.read_bytes())
    peak = with_other_peak_time.index(b"PEAK")
    with_other_peak_time[peak + 12 : peak + 16] = b"\x01\x02\x03\x04"
    source.write_bytes(with_other_peak_time)
    assert stem(tmp_path, source, recipe=recipe).read_bytes() == first


# --- where it belongs -------------------------------------------------------------------------------------------------
def test_the_bext_chunk_is_ebu_tech_3285_version_1(tmp_path: Path) -> None:
    bext = payloads(stem(tmp_path, spool(tmp_path / "spool.wav")))[b"bext"]
    fixed = struct.unpack_from("<256s32s32s10s8sIIH64s190s", bext)
    description, originator, reference, date, time, low, high, version, umid, reserved = fixed
    assert description.rstrip(b"\0") == b"repaint bars-17-20 Gesange u ?quoted? ?"
    assert originator.rstrip(b"\0") == b"Stembridge"
    assert reference.rstrip(b"\0") == ORIGIN.reference.encode()
    assert (date, time) == (b"2026-11-22", b"22:31:05")
    assert high * 2**32 + low == ORIGIN.time_reference
    assert version == 1
    assert not any(umid + reserved)
    assert bext[602:] == b"A=PCM,F=44100,W=32,M=stereo,T=Stembridge 0.1.0; sketch 1\r\n"


def test_ixml_tells_the_same_place_and_survives_any_project_name(tmp_path: Path) -> None:
    root = ElementTree.fromstring(payloads(stem(tmp_path, spool(tmp_path / "spool.wav", channels=6)))[b"iXML"])
    assert root.tag == "BWFXML"
    assert root.findtext("PROJECT") == "Gesänge ü & <Söhne>"
    high, low = (int(root.findtext(f"SPEED/TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_{part}") or "") for part in ("HI", "LO"))
    assert high * 2**32 + low == ORIGIN.time_reference
    assert root.findtext("SPEED/TIMESTAMP_SAMPLE_RATE") == "44100"
    assert root.findtext("TRACK_LIST/TRACK_COUNT") == str(len(root.findall("TRACK_LIST/TRACK"))) == "6"


# --- the recipe -------------------------------------------------------------------------------------------------------
def test_the_recipe_comes_back_from_the_file_alone(tmp_path: Path) -> None:
    recipe = make_recipe(engine_notes={"joins": [1, 2.5], "ü": None})
    path = stem(tmp_path, spool(tmp_path / "spool.wav"), recipe=recipe.model_dump_json())
    assert read_recipe(path) == recipe


def test_the_recipe_comes_from_the_manifest_when_another_program_dropped_our_chunk(tmp_path: Path) -> None:
    path = spool(tmp_path / "resaved.wav")
    entry = {"file": path.name, "recipe": json.loads(make_recipe(seed=9).model_dump_json())}
    (tmp_path / "manifest.json").write_text("not json")
    (tmp_path / "manifest-2.json").write_text(json.dumps({"takes": [{"file": "other.wav"}, 3, entry]}))
    assert read_recipe(path).seed == 9


def test_a_file_without_recipe_is_refused_by_its_name(tmp_path: Path) -> None:
    path = spool(tmp_path / "own recording.wav")
    with pytest.raises(SourceUnreadable, match=r"own recording\.wav is not a stem made by Stembridge"):
        read_recipe(path)


def test_a_recipe_of_a_newer_protocol_asks_for_an_update(tmp_path: Path) -> None:
    newer = json.dumps({"protocol": PROTOCOL_VERSION + 1, "everything": "else"})
    with pytest.raises(SourceUnreadable, match="update Stembridge"):
        read_recipe(stem(tmp_path, spool(tmp_path / "spool.wav"), recipe=newer))


@pytest.mark.parametrize("text", ['{"protocol": 1}', '{"protocol": 1, "request": {"regions": [[2, 1]]}}'])
def test_a_damaged_recipe_is_called_damaged(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceUnreadable, match="damaged"):
        read_recipe(stem(tmp_path, spool(tmp_path / "spool.wav"), recipe=text))


def test_a_missing_file_a_folder_and_a_pipe_are_answered_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match="nothing"):
        read_recipe(tmp_path / "nothing.wav")
    with pytest.raises(SourceUnreadable, match="not a file"):
        read_recipe(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.wav")
        with pytest.raises(SourceUnreadable, match="not a file"):
            data_sha256(tmp_path / "pipe.wav")


# --- hashing and hard times -------------------------------------------------------------------------------------------
def test_the_audio_hash_ignores_everything_but_the_audio(tmp_path: Path) -> None:
    source = spool(tmp_path / "spool.wav")
    path = stem(tmp_path, source)
    assert data_sha256(path) == data_sha256(source)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert data_sha256(path) != data_sha256(source)


def test_the_same_samples_at_another_rate_are_not_the_same_audio(tmp_path: Path) -> None:
    for rate in (44_100, 48_000):
        soundfile.write(tmp_path / f"{rate}.wav", np.ones((9, 1)), rate, subtype="PCM_24")
    assert data_sha256(tmp_path / "44100.wav") != data_sha256(tmp_path / "48000.wav")


@pytest.mark.parametrize(("riff", "data"), [(0, 0), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_a_header_that_was_never_completed_means_up_to_the_end(tmp_path: Path, riff: int, data: int) -> None:
    source = spool(tmp_path / "spool.wav", channels=1, frames=50, subtype="PCM_24")
    expected = data_sha256(source)
    content = bytearray(source.read_bytes())
    struct.pack_into("<I", content, 4, riff)
    struct.pack_into("<I", content, content.index(b"data") + 4, data)
    source.write_bytes(content)
    assert probe(source).frames == 50
    assert data_sha256(source) == expected
    assert soundfile.info(stem(tmp_path, source)).frames == 50


def test_a_data_chunk_that_is_really_empty_stays_empty(tmp_path: Path) -> None:
    source = tmp_path / "empty.wav"
    soundfile.write(source, np.zeros((0, 2), np.float32), 48_000, subtype="FLOAT")
    content = source.read_bytes() + b"LIST\x04\0\0\0INFO"
    source.write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])
    assert probe(source).frames == 0


def test_more_than_four_gigabytes_are_refused_in_words_before_anything_is_written(tmp_path: Path) -> None:
    source = spool(tmp_path / "spool.wav", frames=10, form="RF64")
    content = bytearray(source.read_bytes())
    struct.pack_into("<I", content, content.index(b"data") + 4, 0xFFFFFFFF)
    struct.pack_into("<Q", content, content.index(b"ds64") + 16, 2**32)
    source.write_bytes(content)
    with source.open("r+b") as file:
        file.truncate(2**32 + 10_000)  # sparse: takes no room
    out = io.BytesIO()
    with pytest.raises(ProjectError, match=r"4\.0 GiB.*shorter region"):
        write_broadcast_wave(source, out, ORIGIN, "{}")
    assert out.getvalue() == b""


def with_chunk(content: bytes, chunk_id: bytes, payload: bytes) -> bytes:
    return content[:12] + chunk_id + struct.pack("<I", len(payload)) + payload + content[12:]


def test_a_flood_of_chunks_or_a_huge_one_is_refused(tmp_path: Path) -> None:
    content = spool(tmp_path / "spool.wav", frames=3).read_bytes()
    flood = tmp_path / "flood.wav"
    flood.write_bytes(content[:12] + b"junk\0\0\0\0" * 1001 + content[12:])
    with pytest.raises(SourceUnreadable, match="more than 1000 chunks"):
        probe(flood)
    flood.write_bytes(with_chunk(content, b"fmt ", bytes(2 << 20)))
    with pytest.raises(SourceUnreadable, match="at most"):
        probe(flood)


@given(data=st.data())
def test_any_damage_ends_in_a_sentence_or_in_whole_frames(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    content = bytearray(stem(folder, spool(folder / "spool.wav", frames=5)).read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    try:
        layout = read_layout(io.BytesIO(bytes(content)), "damaged.wav")
    except StembridgeError:
        return
    assert layout.data.size == layout.frames * layout.frame_bytes
    assert layout.data.offset + layout.data.size <= len(content)
