"""Source latents: those of the whole, made once, block by block; and the way back to the project, to the sample."""

from __future__ import annotations

import errno
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pytest
import soxr
import torch
from diffusers import AutoencoderOobleck
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from engine import audio_cache
from engine.acestep.codec import Codec
from engine.acestep.grid import HOP, plan, project_span
from engine.acestep.source_latents import BLOCK, SourceLatents, needed_latents, remember_take, to_project
from protocol.errors import Cancelled, DiskFull, SourceUnreadable
from tests.support.audio import ArraySource, db, noise, rms

if TYPE_CHECKING:
    from engine.api import Audio

RATES = [8000, 11_025, 22_050, 44_100, 44_101, 47_999, 48_000, 96_000, 176_400, 192_000]


@pytest.fixture(scope="module")
def codec(tiny_base: Path) -> Codec:
    with warnings.catch_warnings():  # diffusers still uses the older torch.nn.utils.weight_norm
        warnings.simplefilter("ignore", FutureWarning)
        vae = AutoencoderOobleck.from_pretrained(tiny_base, subfolder="vae")
    return Codec(vae, torch.device("cpu"))


def song(seconds: float, rate: int = 48_000, channels: int = 2, *, seed: int = 0) -> ArraySource:
    return ArraySource(noise(round(seconds * rate), channels, seed=seed), rate)


def latents_of(source: ArraySource, codec: Codec, cache: Path | None = None, identity: str = "vae") -> SourceLatents:
    return SourceLatents(source, codec, cache, identity)


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.abs().max())


def files_in(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((cache / "decoded").iterdir())}


def in_silence(audio: Audio, codec: Codec, lead: int, tail: int) -> torch.Tensor:
    """Latents of 48 kHz audio between so many latent frames of digital silence, encoded as a whole."""
    rest = -audio.shape[1] % HOP
    return codec.encode(torch.from_numpy(np.pad(audio, ((0, 0), (lead * HOP, tail * HOP + rest)))))


@pytest.fixture(scope="module")
def whole(codec: Codec) -> torch.Tensor:
    return in_silence(song(8.5).audio, codec, 40, 60)


# --- the same as the whole --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "span", [(0, 213), (-30, 0), (-20, 240), (95, 105), (100, 200), (150, 151), (213, 260), (7, 7)]
)
def test_any_span_equals_that_span_of_the_whole_in_its_silence(
    codec: Codec, whole: torch.Tensor, span: tuple[int, int]
) -> None:
    source = song(8.5)
    found = latents_of(source, codec).read(*span)
    assert found.shape == (span[1] - span[0], codec.dim)
    assert found.numel() == 0 or error(found, whole[40 + span[0] : 40 + span[1]]) < 1e-5


def test_the_silence_around_the_source_is_digital_silence_and_not_the_networks_edge(codec: Codec) -> None:
    """The negative control: encoded without silence around it, the source's ends sound different."""
    source = song(4.0)
    assert error(latents_of(source, codec).read(0, 100), in_silence(source.audio, codec, 0, 0)) > 1e-3


@pytest.mark.parametrize("rate", [44_100, 22_050, 96_000, 192_000, 44_101])
def test_windows_resampled_alone_equal_the_whole_file_resampled(codec: Codec, rate: int) -> None:
    """(At 44,101 Hz, where soxr approximates the ratio, its clock drifts over a whole file, and not over a window.)"""
    source = song(9.0, rate)
    whole = soxr.resample(np.pad(source.audio, ((0, 0), (rate, rate))).T, rate, 48_000, quality="VHQ").T
    first, last = 93, 131
    heard = latents_of(source, codec)._heard(first, last).numpy()
    wanted = whole[:, (first + 25) * HOP : (last + 25) * HOP]
    assert heard.shape == wanted.shape
    assert db(rms(heard - wanted) / rms(wanted)) < (-95.0 if rate == 44_101 else -130.0)
    assert db(np.abs(heard - wanted).max() / np.abs(wanted).max()) < -90.0


@pytest.mark.parametrize("hz", [50.0, 997.0, 15_000.0])
def test_a_sine_stays_the_sine_it_is_across_rates_and_blocks(codec: Codec, hz: float) -> None:
    rate = 44_100
    sine = 0.5 * np.sin(2 * np.pi * hz * np.arange(10 * rate) / rate)
    source = ArraySource(sine.astype(np.float32)[None], rate)
    for first, last in ((50, 100), (100, 150)):
        heard = latents_of(source, codec)._heard(first, last).numpy()
        wanted = 0.5 * np.sin(2 * np.pi * hz * np.arange(first * HOP, last * HOP) / 48_000)
        assert db(np.abs(heard - wanted).max()) < -90.0
        assert np.array_equal(heard[0], heard[1]), "mono is heard on both sides"


def test_at_44_1_khz_latents_equal_those_of_the_resampled_song(codec: Codec) -> None:
    source = song(9.0, 44_100)
    whole = soxr.resample(np.pad(source.audio, ((0, 0), (44_100, 44_100))).T, 44_100, 48_000, quality="VHQ").T
    wanted = in_silence(np.ascontiguousarray(whole), codec, 0, 0)[25:]
    assert error(latents_of(source, codec).read(0, 225), wanted[:225]) < 1e-5


# --- blocks, files ----------------------------------------------------------------------------------------------------
def test_the_second_read_encodes_nothing_and_reads_nothing(codec: Codec, tmp_path: Path) -> None:
    source = song(8.5, 44_100)
    first = latents_of(source, codec, tmp_path)
    latents = first.read(20, 190)
    assert first.encoded_frames == 2 * BLOCK
    source.reads.clear()
    second = latents_of(source, codec, tmp_path)
    assert torch.equal(second.read(20, 190), latents)
    assert second.encoded_frames == 0
    assert source.reads == []
    second.read(20, 201)
    assert second.encoded_frames == BLOCK


def test_blocks_have_the_same_bits_whatever_was_asked_before(codec: Codec, tmp_path: Path) -> None:
    source = song(13.0, 44_100)
    one, other = latents_of(source, codec, tmp_path / "a"), latents_of(source, codec, tmp_path / "b")
    one.read(-50, 340)
    for span in ((310, 320), (90, 110), (-10, 5), (120, 130), (230, 240)):
        other.read(*span)
    files = files_in(tmp_path / "a")
    assert files == files_in(tmp_path / "b")
    assert len(files) == 5
    assert torch.equal(one.read(-50, 340), latents_of(source, codec, None).read(-50, 340))


def test_a_block_costs_the_same_in_a_short_and_in_a_long_song(codec: Codec) -> None:
    """What is read of the source is the span, in whole blocks, and the margins: never the song."""
    costs = []
    for seconds in (30, 300):
        source = song(seconds, 44_100, 1)
        latents_of(source, codec).read(340, 560)
        costs.append(sum(stop - start for start, stop in source.reads))
        assert min(start for start, _ in source.reads) >= (300 - 10) * 44_100 // 25
        assert max(stop for _, stop in source.reads) <= (600 + 10) * 44_100 // 25
    assert costs[0] == costs[1] <= 1.2 * 300 * 44_100 / 25


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "one bit", "foreign", "other width"])
def test_a_damaged_or_foreign_cache_file_is_ignored_and_written_again(
    codec: Codec, tmp_path: Path, damage: str
) -> None:
    source = song(8.0)
    good = latents_of(source, codec, tmp_path).read(0, 200)
    files = files_in(tmp_path)
    victim, other = sorted((tmp_path / "decoded").iterdir())
    content = bytearray(victim.read_bytes())
    if damage == "one bit":
        content[1000] ^= 1
    ruined = {
        "truncated": bytes(content[:-100]),
        "empty": b"",
        "garbage": b"PK\x03\x04" * 50,
        "one bit": bytes(content),
        "foreign": other.read_bytes(),
        "other width": bytes(content) + b"\0" * 20,
    }
    victim.write_bytes(ruined[damage])
    again = latents_of(source, codec, tmp_path)
    assert torch.equal(again.read(0, 200), good)
    assert again.encoded_frames == BLOCK
    assert files_in(tmp_path) == files


def test_sources_rates_and_checkpoints_do_not_share_latents(codec: Codec, tmp_path: Path) -> None:
    same = song(2.0)
    other = ArraySource(same.audio, 48_000, sha256="1" * 64)
    slower = ArraySource(same.audio, 44_100)
    latents_of(same, codec, tmp_path).read(0, 10)
    for latents in (
        latents_of(other, codec, tmp_path),
        latents_of(slower, codec, tmp_path),
        latents_of(same, codec, tmp_path, "another / one?"),
    ):
        latents.read(0, 10)
        assert latents.encoded_frames == BLOCK
    assert len(files_in(tmp_path)) == 4
    assert all(audio_cache._OURS.fullmatch(name) for name in files_in(tmp_path)), "else they are never pruned"


def test_without_a_cache_it_works_and_writes_nothing(codec: Codec, tmp_path: Path) -> None:
    latents = latents_of(song(4.0), codec, None)
    assert torch.equal(latents.read(3, 50), latents.read(0, 100)[3:50])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "no"), DiskFull("The disk is full.")])
def test_a_cache_that_cannot_be_written_does_not_fail_the_job(
    codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def full(target: Path) -> BinaryIO:
        raise error

    monkeypatch.setattr(audio_cache, "whole_file", full)
    source = song(4.0)
    with caplog.at_level(logging.WARNING):
        found = latents_of(source, codec, tmp_path).read(0, 100)
    assert torch.equal(found, latents_of(source, codec).read(0, 100))
    assert "could not be kept" in caplog.text


def test_a_cache_folder_that_is_a_file_does_not_fail_the_job(codec: Codec, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert latents_of(song(1.0), codec, tmp_path / "cache").read(0, 25).shape == (25, codec.dim)


def test_old_blocks_are_pruned(codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_cache, "DECODED_LIMIT_BYTES", 2 * BLOCK * codec.dim * 4 + 100)
    latents_of(song(16.0), codec, tmp_path).read(0, 400)
    kept = files_in(tmp_path)
    assert len(kept) == 2
    assert any(name.endswith("-3.latents") for name in kept)


def test_step_hears_every_block_and_cancels_between_them(codec: Codec, tmp_path: Path) -> None:
    heard: list[float] = []
    latents_of(song(8.0), codec).read(0, 200, heard.append)
    assert heard == [0.0, 0.5, 1.0]

    def cancel(done: float) -> None:
        if done > 0.4:
            raise Cancelled("The job was cancelled.")

    latents = latents_of(song(8.0), codec, tmp_path)
    with pytest.raises(Cancelled):
        latents.read(0, 200, cancel)
    assert latents.encoded_frames == BLOCK
    again = latents_of(song(8.0), codec, tmp_path)
    again.read(0, 200)
    assert again.encoded_frames == BLOCK, "what was encoded before the cancel is not lost"


def test_more_than_two_channels_are_refused_with_what_to_do(codec: Codec) -> None:
    with pytest.raises(SourceUnreadable, match=r"6 channels.*Render the source to stereo"):
        latents_of(song(1.0, channels=6), codec)


def test_a_windows_index_is_taken_in_order_with_loops_and_silence(codec: Codec) -> None:
    source = song(4.0)
    latents = latents_of(source, codec)
    window = plan([(4 * 48_000, 6 * 48_000)], 48_000, source.frames, (480_000, 0))
    heard: list[float] = []
    found = latents.take(window.index(), heard.append)
    whole = latents.read(0, 100)
    for row, frame in enumerate(window.index()):
        assert torch.equal(found[row], whole[frame] if frame >= 0 else torch.zeros(codec.dim))
    assert heard[0] == 0.0
    assert heard[-1] == 1.0
    assert heard == sorted(heard)
    assert latents.take(np.full(4, -1)).abs().max() == 0.0


# --- our own takes ----------------------------------------------------------------------------------------------------
def take_of(codec: Codec, frames: int = 260) -> tuple[ArraySource, torch.Tensor]:
    latents = torch.randn((frames, codec.dim), generator=torch.Generator().manual_seed(3))
    audio = to_project(codec.decode(latents, 0, frames), 0, 44_100, (0, frames * 1764 - 300), 2)
    return ArraySource(audio, 44_100, sha256="f" * 64), latents


def test_a_take_of_ours_gets_its_latents_back_and_encodes_only_its_end(codec: Codec, tmp_path: Path) -> None:
    source, latents = take_of(codec)
    remember_take(tmp_path, "vae", source.audio, source.rate, latents)
    found = latents_of(source, codec, tmp_path)
    assert torch.equal(found.read(0, 200), latents[:200])
    assert found.encoded_frames == 0
    found.read(0, 230)
    assert found.encoded_frames == BLOCK


@pytest.mark.parametrize("change", ["a sample at the end", "a sample at the start", "length", "rate", "identity"])
def test_what_is_not_exactly_the_take_is_encoded(codec: Codec, tmp_path: Path, change: str) -> None:
    source, latents = take_of(codec)
    remember_take(tmp_path, "vae", source.audio, source.rate, latents)
    audio = source.audio[:, :-1].copy() if change == "length" else source.audio.copy()
    if change.startswith("a sample"):
        audio[0, 10 if change.endswith("start") else -10] += 1e-6
    other = ArraySource(audio, 48_000 if change == "rate" else source.rate)
    found = latents_of(other, codec, tmp_path, "else" if change == "identity" else "vae")
    found.read(0, 100)
    assert found.encoded_frames == BLOCK
    read_whole = sum(stop - start for start, stop in other.reads) > source.frames // 2 + 44_100 * 5
    assert read_whole == (change == "a sample at the end"), "only what could be a take is read whole"


def test_a_damaged_memory_of_a_take_is_no_memory(codec: Codec, tmp_path: Path) -> None:
    source, latents = take_of(codec)
    remember_take(tmp_path, "vae", source.audio, source.rate, latents)
    (file,) = (tmp_path / "decoded").iterdir()
    assert audio_cache._OURS.fullmatch(file.name)
    file.write_bytes(file.read_bytes()[:-4])
    found = latents_of(source, codec, tmp_path)
    found.read(0, 100)
    assert found.encoded_frames == BLOCK


# --- back to the project ----------------------------------------------------------------------------------------------
def sine_48k(hz: float, first_latent: int, last_latent: int) -> torch.Tensor:
    time = np.arange(first_latent * HOP, last_latent * HOP) / 48_000
    sine = 0.5 * np.sin(2 * np.pi * hz * time)
    return torch.from_numpy(np.stack([sine, sine]).astype(np.float32))


def phase(samples: Any, hz: float, rate: int, first: int) -> complex:
    """The sine's complex amplitude, counted from project frame 0."""
    window = signal.windows.blackmanharris(len(samples))
    angle = 2 * np.pi * hz * (first + np.arange(len(samples))) / rate
    return complex(2j * np.sum(window * samples * np.exp(-1j * angle)) / window.sum())


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("first_s", [-3.217, 0.0, 12.3456, 571.77])
def test_a_sine_comes_back_in_phase_at_every_rate(rate: int, first_s: float) -> None:
    first = round(first_s * rate)
    span = (first, first + round(0.9 * rate) + 1)
    first_latent, last_latent = needed_latents(span, rate)
    for hz in (110.0, 2711.0):
        found = to_project(sine_48k(hz, first_latent, last_latent), first_latent, rate, span, 2)
        assert found.shape == (2, span[1] - span[0])
        assert found.dtype == np.float32
        amplitude = phase(found[0], hz, rate, first)
        assert abs(np.angle(amplitude)) < 1e-3
        assert abs(amplitude) == pytest.approx(0.5, rel=1e-4)
        # To the very ends, so no sample is missing and the resampler heard enough.
        wanted = 0.5 * np.sin(2 * np.pi * hz * np.arange(*span) / rate)
        assert db(np.abs(found - wanted).max()) < -90.0


def test_one_sample_of_offset_would_be_seen() -> None:
    found = to_project(sine_48k(2711.0, 0, 25), 0, 48_000, (0, 48_000), 2)
    assert abs(np.angle(phase(found[0], 2711.0, 48_000, 1))) > 0.1


@settings(max_examples=40, deadline=None)
@given(st.integers(8000, 192_000), st.integers(-200, 15_000), st.integers(1, 12), st.data())
def test_any_span_that_the_latents_hold_comes_out_exactly_as_long_as_it_is(
    rate: int, first_latent: int, frames: int, data: st.DataObject
) -> None:
    low, high = project_span((first_latent, first_latent + frames), rate)
    first = data.draw(st.integers(low, high - 1))
    after = data.draw(st.integers(first, high))
    audio = torch.ones(2, frames * HOP)
    assert to_project(audio, first_latent, rate, (first, after), 2).shape == (2, after - first)
    for outside in ((low - 1, after), (first, high + 1)):
        with pytest.raises(ValueError, match="do not lie"):
            to_project(audio, first_latent, rate, outside, 2)


def test_what_else_was_decoded_around_the_span_does_not_matter() -> None:
    span = (50_000, 90_000)
    audio = torch.from_numpy(noise(200 * HOP, 2))
    first, last = needed_latents(span, 44_100)
    whole = to_project(audio, 0, 44_100, span, 2)
    window = to_project(audio[:, first * HOP : last * HOP], first, 44_100, span, 2)
    assert db(np.abs(whole - window).max() / np.abs(whole).max()) < -110.0


def test_at_48_khz_every_bit_is_kept() -> None:
    audio = torch.from_numpy(noise(30 * HOP, 2))
    assert needed_latents((0, 1920), 48_000) == (0, 1)
    found = to_project(audio, -10, 48_000, (-10 * HOP + 7, 20 * HOP - 3), 2)
    np.testing.assert_array_equal(found, audio.numpy()[:, 7:-3])


def test_one_channel_is_the_mean_of_both() -> None:
    audio = torch.from_numpy(noise(10 * HOP, 2))
    found = to_project(audio, 0, 48_000, (0, 10 * HOP), 1)
    np.testing.assert_allclose(found, audio.numpy().mean(axis=0, keepdims=True), atol=1e-7)
