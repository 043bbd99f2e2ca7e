"""A soundfont plays the same notes on the same samples; what it lacks, our own voices play; what is wrong is said."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engine.loudness import loudness_lufs
from engine.sketch.score import Drum, Instrument, Part
from engine.sketch.voices import soundfont
from protocol.errors import BadArgument, Cancelled, EngineMissing
from tests.engine.sketch.voices.busy import TEMPO, busy, note, part_of, played
from tests.support.soundfonts import write_soundfont

if TYPE_CHECKING:
    from engine.api import Audio

with_package = pytest.mark.skipif(
    find_spec("tinysoundfont") is None, reason="tinysoundfont (the extra `soundfont`) is not installed"
)


@pytest.fixture(scope="module")
def font(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_soundfont(tmp_path_factory.mktemp("font") / "tiny \u00e9.sf2")


def by_font(part: Part, font: Path, seconds: float, rate: int = 48_000, start: int = 0) -> Audio:
    span = (start, start + round(seconds * rate))
    return soundfont.perform(part, TEMPO, span, rate, lambda s: s * rate, lambda: False, soundfont=font)


@with_package
@pytest.mark.parametrize("rate", [22_050, 44_100, 96_000])
def test_notes_lie_on_their_exact_samples(font: Path, rate: int) -> None:
    beats = (0.5004, 1.377, 2.911)
    part = part_of(Instrument.ORGAN, [note(round(beat * 960) / 960, 0.1, 69) for beat in beats])
    audio = by_font(part, font, 2.0, rate)
    assert audio.shape == (2, 2 * rate)
    assert audio.dtype == np.float32
    loud = np.abs(audio).max(axis=0)
    for played_note in part.notes:
        frame = round(TEMPO.time_at(played_note.beat) * rate)
        before = loud[frame - 200 : frame].max()
        assert loud[frame : frame + 3].max() > 10.0 * before


@with_package
def test_the_pitch_is_the_one_that_is_written(font: Path) -> None:
    audio = by_font(part_of(Instrument.ORGAN, [note(0.0, 4.0, 69)]), font, 1.9)[0, 9_600:86_400]
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(audio.size), 1 << 20))
    assert 1200.0 * np.log2(spectrum.argmax() * 48_000 / (1 << 20) / 440.0) == pytest.approx(0.0, abs=3.0)


@with_package
def test_a_note_is_let_go_where_it_ends(font: Path) -> None:
    audio = by_font(part_of(Instrument.ORGAN, [note(0.0, 1.0, 60)]), font, 1.5)
    level = np.abs(audio).max(axis=0)
    assert level[20_000:24_000].max() > 20.0 * level[48_000:].max()


@with_package
def test_the_same_bits_on_every_run_in_any_span(font: Path) -> None:
    part = busy(Instrument.ORGAN, bars=2)
    audio = by_font(part, font, 4.0)
    assert audio.tobytes() == by_font(part, font, 4.0).tobytes()
    assert np.abs(audio).max() < 1.0
    assert not by_font(part, font, 1.0, start=-48_000).any()


@with_package
def test_a_part_is_the_same_bits_whatever_the_loaded_font_played_before_it(font: Path) -> None:
    part = busy(Instrument.ORGAN, bars=2)
    soundfont._opened.cache_clear()
    soundfont._matching_gain_db.cache_clear()
    fresh = by_font(part, font, 4.0)
    by_font(busy(Instrument.ACOUSTIC_KIT, bars=2), font, 1.3)  # cut while it sounds
    by_font(part_of(Instrument.ORGAN, [note(0.0, 60.0, pitch) for pitch in (50, 57, 64)]), font, 0.7)
    assert by_font(part, font, 4.0).tobytes() == fresh.tobytes()


@with_package
@pytest.mark.parametrize("instrument", [Instrument.ORGAN, Instrument.ACOUSTIC_KIT, Instrument.BRUSH_KIT])
def test_a_font_is_as_loud_as_our_own_voices(instrument: Instrument, tmp_path: Path) -> None:
    for level in (0.02, 0.9):  # fonts differ by that much
        audio = by_font(busy(instrument), write_soundfont(tmp_path / f"{level}.sf2", level=level), 16.0)
        loudness = loudness_lufs(audio, 48_000)
        assert loudness is not None
        assert abs(loudness + 20.0) < 6.0


@with_package
def test_kits_are_taken_from_the_drum_bank(font: Path) -> None:
    part = part_of(Instrument.BRUSH_KIT, [note(0.5, 0.5, Drum.SNARE)])
    audio = by_font(part, font, 1.0)
    assert not np.array_equal(audio, played(part, 1.0))
    assert np.flatnonzero(np.abs(audio).max(axis=0))[0] == 12_000


@with_package
@pytest.mark.parametrize("instrument", [Instrument.PIANO, Instrument.EFFECTS], ids=lambda i: i.name)
def test_what_the_font_lacks_is_played_by_our_own_voices(instrument: Instrument, font: Path) -> None:
    part = busy(instrument, bars=1)
    assert np.array_equal(by_font(part, font, 2.0), played(part, 2.0))


@with_package
def test_a_silent_instrument_of_a_font_is_one_that_it_lacks(tmp_path: Path) -> None:
    silent = write_soundfont(tmp_path / "silent.sf2", level=0.0)
    part = busy(Instrument.ORGAN, bars=1)
    assert np.array_equal(by_font(part, silent, 2.0), played(part, 2.0))


@with_package
def test_a_cancelled_job_ends(font: Path) -> None:
    with pytest.raises(Cancelled):
        soundfont.perform(
            busy(Instrument.ORGAN), TEMPO, (0, 48_000), 48_000, lambda s: s * 48_000, lambda: True, soundfont=font
        )


# --- what is wrong is said ----------------------------------------------------------------------------------------
@with_package
@pytest.mark.parametrize("content", [b"", b"RIFF\x04\x00\x00\x00WAVE", b"not a soundfont at all" * 50])
def test_a_file_that_is_no_soundfont_is_named(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "wrong.sf2"
    file.write_bytes(content)
    with pytest.raises(BadArgument, match=r"wrong\.sf2 is no soundfont .* name another file"):
        by_font(busy(Instrument.ORGAN, bars=1), file, 1.0)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match=r"gone\.sf2 cannot be read: put the file there"):
        by_font(busy(Instrument.ORGAN, bars=1), tmp_path / "gone.sf2", 1.0)


def test_a_missing_package_is_named_with_what_installs_it(
    font: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)  # what an import of an absent package meets
    other = tmp_path / "other.sf2"
    other.write_bytes(font.read_bytes())
    with pytest.raises(EngineMissing, match=r"pip install 'stembridge\[soundfont\]'"):
        by_font(busy(Instrument.ORGAN, bars=1), other, 1.0)


@with_package
def test_the_package_needs_no_audio_device_to_be_imported() -> None:
    code = "import sys; sys.modules['pyaudio'] = None; import tinysoundfont; tinysoundfont.Synth()"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
