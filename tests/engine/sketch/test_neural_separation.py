"""Demucs, really loaded and really run, on models of a few kilobytes with random weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.audio import resample
from engine.sketch import neural_separation
from protocol.errors import BadArgument, Cancelled, EngineCannot, EngineError, EngineMissing
from protocol.job import Progress
from protocol.vocabulary import TrackClass
from tests.support import tiny_demucs

pytest.importorskip("demucs")

DRUMS, BASS, VOCALS = TrackClass.DRUMS, TrackClass.BASS, TrackClass.VOCALS


def quiet(_progress: Progress) -> None:
    pass


def never() -> bool:
    return False


def noise(frames: int, channels: int = 2, seed: int = 1) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((channels, frames))).astype(np.float32)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_demucs.write(folder)
    tiny_demucs.write(folder / "HTDemucs-6s", "htdemucs_6s", tiny_demucs.SIX)
    say = np.eye(4).tolist()
    tiny_demucs.write(folder / "htdemucs_ft", "htdemucs_ft", models=4, weights=say)
    return folder


def test_it_gives_what_the_package_itself_gives(models: Path, tmp_path: Path) -> None:
    import torch
    from demucs.api import Separator

    mix = noise(110_250)
    tiny_demucs.pickled(tmp_path)
    _, theirs = Separator("htdemucs", repo=tmp_path, device="cpu", shifts=0).separate_tensor(torch.from_numpy(mix))
    ours = neural_separation.separate(mix, 44_100, (DRUMS, BASS, VOCALS), {"models_dir": models}, quiet, never)
    assert list(ours) == [DRUMS, BASS, VOCALS]
    for track, part in ours.items():
        assert part.dtype == np.float32
        np.testing.assert_allclose(part, theirs[track.value].numpy(), atol=1e-5)
    assert np.abs(ours[DRUMS] - ours[BASS]).max() > 1e-3, "the parts of this model must differ for this to say anything"


def test_parts_have_the_rate_and_length_of_the_song(models: Path) -> None:
    for rate, frames, channels in ((48_000, 60_001, 2), (22_050, 12_345, 1), (44_100, 1, 2), (44_100, 0, 2)):
        mix = noise(frames, channels)
        part = neural_separation.separate(mix, rate, (BASS,), {"models_dir": models}, quiet, never)[BASS]
        assert part.shape == mix.shape
        assert part.dtype == np.float32
        assert np.all(np.isfinite(part))


def test_another_rate_moves_nothing(models: Path) -> None:
    """Compared below 11 kHz, where a detour by twice the rate keeps everything; a sample's delay would show."""
    mix = resample(noise(22_050), 22_050, 44_100)
    at_both = [
        resample(
            neural_separation.separate(given, rate, (DRUMS,), {"models_dir": models}, quiet, never)[DRUMS], rate, 22_050
        )
        for given, rate in ((mix, 44_100), (resample(mix, 44_100, 88_200), 88_200))
    ]
    straight, detour = (part[:, 1000:-1000] for part in at_both)
    assert np.abs(detour - straight).max() < 0.01 * np.abs(straight).max()
    assert np.abs(detour[:, 1:] - straight[:, :-1]).max() > 0.1 * np.abs(straight).max()


def test_the_same_audio_gives_the_same_parts(models: Path) -> None:
    first, again = (
        neural_separation.separate(noise(66_150), 44_100, (VOCALS,), {"models_dir": models}, quiet, never)[VOCALS]
        for _ in range(2)
    )
    assert np.array_equal(first, again)


def test_silence_stays_silent(models: Path) -> None:
    silent = np.zeros((2, 44_100), np.float32)
    part = neural_separation.separate(silent, 44_100, (DRUMS,), {"models_dir": models}, quiet, never)[DRUMS]
    assert np.abs(part).max() < 1e-6


def test_progress_rises_and_a_cancel_is_heard_within_a_segment(models: Path) -> None:
    told: list[float] = []
    mix = noise(5 * 44_100)
    options = {"models_dir": models}
    neural_separation.separate(mix, 44_100, (DRUMS,), options, lambda p: told.append(p.fraction), never)
    assert told == sorted(told)
    assert len(set(told)) >= 5
    told.clear()
    with pytest.raises(Cancelled):
        neural_separation.separate(
            mix, 44_100, (DRUMS,), options, lambda p: told.append(p.fraction), lambda: len(told) > 2
        )
    assert max(told) < 0.5


def test_a_bag_runs_only_the_models_that_have_a_say(models: Path) -> None:
    options = {"models_dir": models, "separator_model": "htdemucs_ft"}
    told: list[float] = []
    alone = neural_separation.separate(
        noise(44_100), 44_100, (BASS,), options, lambda p: told.append(p.fraction), never
    )[BASS]
    steps = len(told)
    told.clear()
    both = neural_separation.separate(
        noise(44_100), 44_100, (BASS, DRUMS), options, lambda p: told.append(p.fraction), never
    )[BASS]
    assert np.array_equal(alone, both)
    assert len(told) - 1 == 2 * (steps - 1)


def test_each_model_offers_what_it_has_learnt(models: Path) -> None:
    four, six = (
        neural_separation.offer({"models_dir": models, "separator_model": name}) for name in ("htdemucs", "htdemucs_6s")
    )
    assert four is not None
    assert six is not None
    assert four.tracks == {DRUMS, BASS, VOCALS}
    assert six.tracks == {DRUMS, BASS, VOCALS, TrackClass.GUITAR, TrackClass.KEYBOARD}
    with pytest.raises(EngineCannot, match="htdemucs_6s"):
        neural_separation.separate(noise(100), 44_100, (TrackClass.GUITAR,), {"models_dir": models}, quiet, never)


def test_weights_that_are_not_there_are_named_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    options = {"models_dir": tmp_path, "separator_model": "htdemucs_6s"}
    assert neural_separation.offer(options) is None
    assert f"hf download adefossez/HTDemucs-6s --local-dir '{tmp_path}'" in neural_separation.lacks(options)
    with pytest.raises(EngineMissing, match="hf download"):
        neural_separation.offer({**options, "separator": "demucs"})
    with pytest.raises(EngineMissing, match="hf download"):
        neural_separation.separate(noise(10), 44_100, (DRUMS,), options, quiet, never)
    tiny_demucs.write(tmp_path, "htdemucs_6s", tiny_demucs.SIX)[0].unlink()
    assert "hf download" in neural_separation.lacks(options)


def test_the_hugging_face_cache_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert neural_separation.offer({}) is None
    repo = tmp_path / "models--adefossez--HTDemucs"
    tiny_demucs.write(repo / "snapshots" / "abc")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    found = neural_separation.offer({})
    assert found is not None
    assert found.bag == repo / "snapshots" / "abc" / "htdemucs.yaml"
    assert neural_separation.lacks({}) == ""


def test_masks_are_taken_when_asked_for(models: Path) -> None:
    assert neural_separation.offer({"models_dir": models, "separator": "masks"}) is None
    assert neural_separation.offer({"models_dir": models, "separator": "demucs"}) is not None


@pytest.mark.parametrize("options", [{"separator": "magic"}, {"separator_model": "mdx_q"}])
def test_unknown_options_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(BadArgument):
        neural_separation.offer(options)


def test_damaged_weights_say_so(tmp_path: Path) -> None:
    weights = tiny_demucs.write(tmp_path)[0]
    whole = weights.read_bytes()
    options = {"models_dir": tmp_path}
    for broken in (whole[: len(whole) // 2], whole[:6], b""):
        weights.write_bytes(broken)
        with pytest.raises(EngineError, match="fetch it again"):
            neural_separation.offer(options)
    weights.write_bytes(whole)
    (tmp_path / "htdemucs.yaml").write_text("models: ['../../elsewhere']")
    with pytest.raises(EngineError, match="fetch it again"):
        neural_separation.offer(options)


def test_a_file_cannot_name_a_class_that_is_not_demucs(tmp_path: Path) -> None:
    """The package would import and call whatever the file names."""
    from safetensors.torch import load_file, save_file

    weights = tiny_demucs.write(tmp_path)[0]
    head = {"klass": "subprocess.Popen", "args": '[["touch", "owned"]]', "kwargs": '{"sources": ["drums"]}'}
    save_file(load_file(weights), weights, metadata=head)
    with pytest.raises(EngineError, match="no Demucs model"):
        neural_separation.separate(noise(10), 44_100, (DRUMS,), {"models_dir": tmp_path}, quiet, never)


def test_an_offer_costs_no_torch() -> None:
    code = (
        "import sys; from engine.sketch import neural_separation as n; n.offer({}); "
        "sys.exit('torch' in sys.modules or 'librosa' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_more_than_two_channels_and_unknown_devices_are_refused(models: Path) -> None:
    with pytest.raises(EngineCannot, match="6 channels"):
        neural_separation.separate(noise(10, 6), 44_100, (DRUMS,), {"models_dir": models}, quiet, never)
    with pytest.raises(EngineCannot, match="no device"):
        neural_separation.separate(
            noise(10), 44_100, (DRUMS,), {"models_dir": models, "device": "abacus"}, quiet, never
        )
