"""Source audio into the project: the exact sum, kept once, whole, inside the project, nothing of the user's touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from bridge.broadcast_wave import data_sha256
from bridge.doors import mailbox_source
from bridge.doors.mailbox_source import SourceMismatch, keep, planned
from engine.audio import open_source
from protocol.errors import OutsideProject, SourceMissing, SourceUnreadable
from protocol.job import ProjectRef
from tests.support.audio import noise, save

RATE, FRAMES = 44_100, 150_000


@pytest.fixture
def project(tmp_path: Path) -> ProjectRef:
    folder = tmp_path / "Gesänge ü"
    (folder / "Media").mkdir(parents=True)
    return ProjectRef(folder=str(folder), media_folder=str(folder / "Media"), sample_rate=RATE)


def left(tmp_path: Path, number: int = 1, frames: int = FRAMES, channels: int = 2, **options: str) -> Path:
    return save(tmp_path / "audio" / f"a.{number}.wav", noise(frames, channels, seed=number), RATE, **options)


def kept(files: list[Path], project: ProjectRef, frames: int = FRAMES) -> Path:
    return keep(planned(files, RATE, frames), project)


def samples(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32", always_2d=True)[0]


def sources(project: ProjectRef) -> list[str]:
    return sorted(p.name for p in (Path(project.media_folder) / "stembridge" / "sources").iterdir())


def test_one_file_is_kept_bit_for_bit(tmp_path: Path, project: ProjectRef) -> None:
    source = left(tmp_path, subtype="FLOAT")
    file = kept([source], project)
    assert file.parent == Path(project.media_folder) / "stembridge" / "sources"
    np.testing.assert_array_equal(samples(file), samples(source))
    info = soundfile.info(file)
    assert (info.subtype, info.samplerate, info.frames, info.channels) == ("FLOAT", RATE, FRAMES, 2)
    assert file.name == f"source-{data_sha256(file)[:16]}.wav"


def test_stems_are_summed_and_mono_goes_to_both_sides(tmp_path: Path, project: ProjectRef) -> None:
    stereo, mono = left(tmp_path, 1, subtype="PCM_24"), left(tmp_path, 2, channels=1, subtype="FLOAT")
    total = samples(kept([stereo, mono], project))
    exact = soundfile.read(stereo)[0] + soundfile.read(mono, always_2d=True)[0]
    np.testing.assert_array_equal(total, exact.astype(np.float32))


def test_the_engine_reads_it_as_it_is(tmp_path: Path, project: ProjectRef) -> None:
    source = left(tmp_path, subtype="FLOAT")
    opened = open_source(kept([source], project), RATE, tmp_path / "cache")
    np.testing.assert_array_equal(opened.read(0, FRAMES), samples(source).T)


def test_the_same_audio_is_kept_once_and_never_overwritten(tmp_path: Path, project: ProjectRef) -> None:
    first = kept([left(tmp_path, subtype="FLOAT")], project)
    stamp = first.stat().st_mtime_ns, first.stat().st_ino
    assert kept([left(tmp_path, subtype="FLOAT")], project) == first
    assert (first.stat().st_mtime_ns, first.stat().st_ino) == stamp
    first.write_bytes(b"the user's own")
    second = kept([left(tmp_path, subtype="FLOAT")], project)
    assert first.read_bytes() == b"the user's own"
    assert sources(project) == sorted([first.name, f"{first.stem}-2.wav"])
    np.testing.assert_array_equal(samples(second), samples(tmp_path / "audio" / "a.1.wav"))


def test_the_same_samples_at_another_rate_are_other_audio(tmp_path: Path, project: ProjectRef) -> None:
    one = kept([left(tmp_path)], project)
    path = save(tmp_path / "b.wav", noise(FRAMES, seed=1), 48_000)
    assert keep(planned([path], 48_000, FRAMES), project).name != one.name


@pytest.mark.parametrize(
    ("real", "announced", "length", "warns"),
    [
        (1000, 1000, 1000, False),
        (1002, 1000, 1000, False),
        (998, 1000, 1000, False),
        (1003, 1000, 1000, True),
        (997, 1000, 997, True),
    ],
)
def test_a_length_that_is_a_little_off_is_put_right_and_one_that_is_more_is_told(
    tmp_path: Path, project: ProjectRef, real: int, announced: int, length: int, warns: bool
) -> None:
    source = left(tmp_path, frames=real, subtype="FLOAT")
    mix = planned([source], RATE, announced)
    audio = samples(keep(mix, project))
    assert (mix.frames, len(audio), bool(mix.warnings)) == (length, length, warns)
    common = min(real, length)
    np.testing.assert_array_equal(audio[:common], samples(source)[:common])


def test_a_stem_that_ends_early_is_silent_from_there(tmp_path: Path, project: ProjectRef) -> None:
    whole, short = left(tmp_path, 1), left(tmp_path, 2, frames=1000)
    mix = planned([whole, short], RATE, FRAMES)
    assert [sentence for sentence in mix.warnings if "a.2.wav is 1000 samples" in sentence]
    np.testing.assert_array_equal(samples(keep(mix, project))[1000:], samples(whole)[1000:])


def test_what_does_not_fit_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceMismatch, match="came at 44100 Hz, but the project runs at 48000 Hz"):
        planned([left(tmp_path)], 48_000, FRAMES)
    with pytest.raises(SourceMismatch, match="2 and 6 channels"):
        planned([left(tmp_path, 1), left(tmp_path, 2, channels=6)], RATE, FRAMES)
    with pytest.raises(SourceMissing):
        planned([tmp_path / "gone.wav"], RATE, FRAMES)
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(SourceUnreadable):
        planned([tmp_path / "text.wav"], RATE, FRAMES)
    compressed = save(tmp_path / "b.wav", noise(FRAMES), RATE, format="FLAC", subtype="PCM_16")
    assert planned([compressed], RATE, FRAMES).frames == FRAMES
    monkeypatch.setattr(mailbox_source, "_MAX_BYTES", FRAMES)
    with pytest.raises(SourceMismatch, match="4 GiB"):
        planned([left(tmp_path)], RATE, FRAMES)


def test_no_link_in_the_project_leads_the_source_outside(tmp_path: Path, project: ProjectRef) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (Path(project.media_folder) / "stembridge").symlink_to(outside)
    with pytest.raises(OutsideProject):
        kept([left(tmp_path)], project)
    assert list(outside.iterdir()) == []


def test_a_failure_leaves_nothing(tmp_path: Path, project: ProjectRef, monkeypatch: pytest.MonkeyPatch) -> None:
    mix = planned([left(tmp_path)], RATE, FRAMES)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mailbox_source.atomic, "publish", full)
    with pytest.raises(Exception, match="no room"):
        keep(mix, project)
    assert list(Path(project.media_folder).iterdir()) == []


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    path = left(tmp_path, frames=1_000_000, channels=1)
    sizes = [len(block) for block in mailbox_source._sum(planned([path], RATE, 1_000_000))]
    assert max(sizes) <= 1 << 16
    assert sum(sizes) == 1_000_000
