"""What the double's projects sound like, exactly; its sources, accessors, arrays and renders, through real Lua."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tests.support.reascript import api_accessor, api_render, api_sources, audio, projects
from tests.support.reascript.audio import Audio
from tests.support.reascript.errors import BadCall, NotModelled, ScriptError
from tests.support.reascript.host import Reaper
from tests.support.reascript.model import Fx, Item, Project, Source, Take, Track

RATE = 8000
FRAMES = 4000


@pytest.fixture(scope="module")
def noise_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of stereo noise at 8 kHz."""
    path = tmp_path_factory.mktemp("noise") / "noise.wav"
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (FRAMES, 2)).astype(np.float32)
    soundfile.write(path, noise, RATE, subtype="FLOAT")
    return path


@pytest.fixture
def noise(noise_file: Path) -> Audio:
    return np.asarray(soundfile.read(noise_file, dtype="float32")[0].T)


def song(path: Path, position_s: float = 0.0, **values: float) -> tuple[Project, Track, Item]:
    """A project at 8 kHz with the file on one track."""
    project = Project()
    project.values["PROJECT_SRATE"] = float(RATE)
    track = projects.add_track(project, "Guitar")
    return project, track, projects.add_audio(track, path, position_s, **values)


# --- items ------------------------------------------------------------------------------------------------------------
def test_an_item_is_heard_at_its_frame_and_nowhere_else(noise_file: Path, noise: Audio) -> None:
    _, track, _ = song(noise_file, position_s=100 / RATE)
    heard = audio.dry(track, RATE, 0, 200 + FRAMES)
    np.testing.assert_array_equal(heard[:, 100 : 100 + FRAMES], noise)
    assert not heard[:, :100].any()
    assert not heard[:, 100 + FRAMES :].any()


@given(first=st.integers(-500, 5000), frames=st.integers(0, 3000))
def test_any_range_of_frames_is_a_part_of_the_whole(noise_file: Path, first: int, frames: int) -> None:
    project, track, _ = song(noise_file, 0.1001, D_FADEINLEN=0.1, D_FADEOUTLEN=0.1)
    track.values.update(D_VOL=0.5, D_PAN=0.25)
    whole = audio.master_mix(project, RATE, -500, 8000)
    part = audio.master_mix(project, RATE, first, first + frames)
    np.testing.assert_array_equal(part, whole[:, first + 500 : first + 500 + frames])


@given(position_s=st.floats(0.0, 1.0), offset_s=st.floats(0.0, 0.2), at=st.floats(0.01, 0.2), loops=st.booleans())
def test_a_split_moves_nothing(noise_file: Path, position_s: float, offset_s: float, at: float, loops: bool) -> None:
    _, track, item = song(noise_file, position_s, B_LOOPSRC=float(loops), D_LENGTH=0.3)
    item.takes[0].values["D_STARTOFFS"] = offset_s
    before = audio.dry(track, RATE, 0, 3 * RATE)
    edge = position_s + at
    projects.add_audio(track, noise_file, edge, 0.3 - at, offset_s=offset_s + at, B_LOOPSRC=float(loops))
    item.values["D_LENGTH"] = edge - position_s
    np.testing.assert_array_equal(audio.dry(track, RATE, 0, 3 * RATE), before)


def test_a_looped_item_repeats_its_source_and_one_that_is_not_ends_in_silence(noise_file: Path, noise: Audio) -> None:
    _, track, item = song(noise_file, B_LOOPSRC=1.0, D_LENGTH=1.0)
    np.testing.assert_array_equal(audio.dry(track, RATE, 0, 2 * FRAMES), np.tile(noise, 2))
    item.values["B_LOOPSRC"] = 0.0
    assert not audio.dry(track, RATE, FRAMES, 2 * FRAMES).any()


def test_a_crossfade_of_a_file_with_itself_is_the_file(noise_file: Path, noise: Audio) -> None:
    _, track, item = song(noise_file, D_LENGTH=0.3, D_FADEOUTLEN=0.01, D_FADEOUTLEN_AUTO=0.1)
    projects.add_audio(track, noise_file, 0.2, offset_s=0.2, D_FADEINLEN_AUTO=0.1)
    np.testing.assert_allclose(audio.dry(track, RATE, 0, FRAMES), noise, atol=1e-7)
    item.values["D_FADEOUTLEN_AUTO"] = -1.0
    assert np.abs(audio.dry(track, RATE, 0, FRAMES) - noise).max() > 0.1


def test_volumes_of_take_and_item_multiply_and_a_muted_item_is_silent(noise_file: Path, noise: Audio) -> None:
    _, track, item = song(noise_file, D_VOL=0.5)
    item.takes[0].values["D_VOL"] = 0.5
    np.testing.assert_array_equal(audio.dry(track, RATE, 0, FRAMES), noise * np.float32(0.25))
    item.values["B_MUTE"] = 1.0
    assert not audio.dry(track, RATE, 0, FRAMES).any()


def test_the_active_take_plays_unless_all_do(noise_file: Path, noise: Audio) -> None:
    _, track, item = song(noise_file)
    quiet = Take(api_sources.source_of(noise_file))
    quiet.values["D_VOL"] = 0.5
    item.takes.append(quiet)
    item.active = 1
    np.testing.assert_array_equal(audio.dry(track, RATE, 0, FRAMES), noise * np.float32(0.5))
    item.values["B_ALLTAKESPLAY"] = 1.0
    np.testing.assert_array_equal(audio.dry(track, RATE, 0, FRAMES), noise * np.float32(1.5))


def test_another_rate_is_resampled_to_the_same_length_in_seconds(noise_file: Path) -> None:
    _, track, _ = song(noise_file)
    heard = audio.dry(track, 2 * RATE, 0, 3 * FRAMES).any(axis=0)
    assert np.flatnonzero(heard)[-1] == 2 * FRAMES - 1


def test_what_is_not_modelled_is_said(noise_file: Path) -> None:
    _, track, item = song(noise_file)
    item.takes[0].values["D_PLAYRATE"] = 1.5
    with pytest.raises(NotModelled, match="play rate"):
        audio.dry(track, RATE, 0, FRAMES)


# --- tracks -----------------------------------------------------------------------------------------------------------
def test_effects_and_fader_are_in_the_stem_and_not_in_the_dry_sound(noise_file: Path, noise: Audio) -> None:
    project, track, _ = song(noise_file)
    track.fx = [Fx("off", 0.1, enabled=False), Fx("ReaComp", 0.5)]
    track.values["D_VOL"] = 0.5
    np.testing.assert_array_equal(audio.dry(track, RATE, 0, FRAMES), noise)
    np.testing.assert_array_equal(audio.stem(project, track, RATE, 0, FRAMES), noise * np.float32(0.25))
    track.values["I_FXEN"] = 0.0
    np.testing.assert_array_equal(audio.stem(project, track, RATE, 0, FRAMES), noise * np.float32(0.5))


def test_a_pan_turns_down_the_other_side_and_a_flipped_phase_turns_the_sign(noise_file: Path, noise: Audio) -> None:
    project, track, _ = song(noise_file)
    track.values.update(D_PAN=-0.5, B_PHASE=1.0)
    heard = audio.stem(project, track, RATE, 0, FRAMES)
    np.testing.assert_array_equal(heard, noise * np.array([[-1.0], [-0.5]], np.float32))
    track.values.update(D_PAN=0.0, B_PHASE=0.0, D_WIDTH=0.0)
    left, right = audio.stem(project, track, RATE, 0, FRAMES)
    np.testing.assert_array_equal(left, right)


def test_an_instrument_plays_its_midi_and_lets_no_audio_through(noise_file: Path) -> None:
    project, track, _ = song(noise_file)
    track.fx = [projects.instrument(0.5)]
    assert not audio.stem(project, track, RATE, 0, FRAMES).any()
    projects.add_midi(track, 0.25, 0.1)
    heard = audio.stem(project, track, RATE, 0, FRAMES)
    assert np.abs(heard[:, 2000:2800]).max() == pytest.approx(0.125, rel=0.01)
    assert not heard[:, :2000].any()
    assert not heard[:, 2800:].any()


def test_a_folder_sums_its_children_and_its_mute_silences_them(noise_file: Path, noise: Audio) -> None:
    project, child, _ = song(noise_file)
    band = projects.add_track(project, "Band", depth=1, D_VOL=0.5)
    project.tracks = [band, child]
    child.values["I_FOLDERDEPTH"] = -1.0
    below = projects.add_track(project, "Voice")
    assert [audio.parents(project, track) for track in project.tracks] == [[], [band], []]
    np.testing.assert_array_equal(audio.stem(project, band, RATE, 0, FRAMES), noise * np.float32(0.5))
    np.testing.assert_array_equal(audio.master_mix(project, RATE, 0, FRAMES), noise * np.float32(0.5))
    below.values["I_SOLO"] = 1.0
    assert not audio.master_mix(project, RATE, 0, FRAMES).any()
    below.values["I_SOLO"], band.values["B_MUTE"] = 0.0, 1.0
    assert not audio.stem(project, child, RATE, 0, FRAMES).any()


@pytest.mark.parametrize(("flag", "offset"), [(0, 100 / RATE), (2, 100.0), (1, 0.5)])
def test_a_playback_offset_shifts_what_is_heard_unless_it_is_bypassed(
    noise_file: Path, noise: Audio, flag: int, offset: float
) -> None:
    project, track, _ = song(noise_file)
    track.values.update(D_PLAY_OFFSET=offset, I_PLAY_OFFSET_FLAG=float(flag))
    shift = 0 if flag & 1 else 100
    heard = audio.master_mix(project, RATE, 0, FRAMES + 100)
    np.testing.assert_array_equal(heard[:, shift : shift + FRAMES], noise)
    assert not heard[:, :shift].any()


# --- sources ----------------------------------------------------------------------------------------------------------
def test_a_source_tells_what_the_file_is_and_a_file_without_audio_gives_none(noise_file: Path, tmp_path: Path) -> None:
    source = api_sources.create_from_file(None, str(noise_file))
    assert source is not None
    assert api_sources.length(None, source) == (0.5, False)
    assert (api_sources.source_type(None, source), api_sources.file_name(None, source)) == ("WAVE", str(noise_file))
    assert (api_sources.sample_rate(None, source), api_sources.channels(None, source)) == (RATE, 2)
    (tmp_path / "no.wav").write_text("no audio")
    assert api_sources.create_from_file(None, str(tmp_path / "no.wav")) is None
    assert api_sources.create_from_file(None, str(tmp_path / "missing.wav")) is None
    assert api_sources.length(None, Source(Path(), "MIDI", quarter_notes=16.0)) == (16.0, True)


def test_peaks_are_there_only_after_all_three_steps(noise_file: Path) -> None:
    source = api_sources.source_of(noise_file)
    assert source is not None
    with pytest.raises(BadCall, match="mode 0"):
        api_sources.build_peaks(None, source, 1)
    assert api_sources.build_peaks(None, source, 0) > 0
    while api_sources.build_peaks(None, source, 1) != 0:
        assert not source.peaks
    assert not source.peaks
    api_sources.build_peaks(None, source, 2)
    assert source.peaks
    assert api_sources.build_peaks(None, source, 0) == 0


# --- through Lua ------------------------------------------------------------------------------------------------------
@pytest.fixture(params=["5.3", "5.4"])
def reaper(request: pytest.FixtureRequest, tmp_path: Path) -> Reaper:
    return Reaper(tmp_path / "REAPER", lua=request.param)


@pytest.fixture
def run(reaper: Reaper, tmp_path: Path) -> Any:
    def run(code: str) -> None:
        path = tmp_path / "test.lua"
        path.write_text(code)
        reaper.run(path)

    return run


def opened(reaper: Reaper, noise_file: Path, tmp_path: Path, position_s: float = 0.0) -> Project:
    """A saved project, its render settings as our scripts set them."""
    project, _, _ = song(noise_file, position_s)
    project.path = tmp_path / "Lied" / "Lied.rpp"
    project.strings.update(RENDER_FORMAT="ZXZhdyAAAA==", RENDER_FILE=str(tmp_path / "out"), RENDER_PATTERN="x")
    project.values.update(RENDER_NORMALIZE=0.0, RENDER_ADDTOPROJ=0.0, RENDER_TAILFLAG=0.0, RENDER_BOUNDSFLAG=0.0)
    project.values.update(RENDER_STARTPOS=100 / RATE, RENDER_ENDPOS=3100 / RATE)
    return reaper.open(project)


RENDER = "reaper.Main_OnCommandEx(42230, 0, 0)"


def test_an_accessor_reads_the_dry_track_into_an_array(
    reaper: Reaper, run: Any, noise_file: Path, noise: Audio
) -> None:
    project, track, _ = song(noise_file, 0.25)
    track.fx = [Fx("ReaComp", 0.5)]
    reaper.open(project)
    first, second = float(noise[0, 1]), float(noise[1, 1])
    run(f"""
      local accessor = reaper.CreateTrackAudioAccessor(reaper.GetTrack(0, 0))
      local buffer = reaper.new_array(200)
      assert(reaper.GetAudioAccessorSamples(accessor, {RATE}, 2, 2001 / {RATE}, 100, buffer) == 1)
      assert(buffer[1] == {first!r} and buffer[2] == {second!r})
      local values = buffer.table(1, 200)
      assert(#values == 200 and values[2] == buffer[2] and #buffer.table(199) == 2)
      buffer[3] = 0.5
      assert(buffer.table(3, 1)[1] == 0.5)
      assert(reaper.GetAudioAccessorSamples(accessor, {RATE}, 2, 0, 100, buffer) == 0 and buffer[1] == 0)
      assert(reaper.GetAudioAccessorEndTime(accessor) == 0.75)
      reaper.DestroyAudioAccessor(accessor)
    """)
    assert api_accessor.open_accessors(reaper) == []


def test_an_array_is_made_from_a_size_or_a_table_cleared_and_resized(reaper: Reaper, run: Any) -> None:
    reaper.open(Project())
    run("""
      local array = reaper.new_array({1, 2, 3}, 5)
      assert(array.get_alloc() == 5 and array[3] == 3 and array[4] == 0)
      array.clear(7, 2, 2)
      assert(array[1] == 1 and array[2] == 7 and array[3] == 7 and array[4] == 0)
      array.resize(2)
      assert(#array.table() == 2)
      array.clear()
      assert(array[1] == 0 and #reaper.new_array({4, 5}).table() == 2)
    """)


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("reaper.DestroyAudioAccessor(accessor) reaper.DestroyAudioAccessor(accessor)", "DeadPointer"),
        ("reaper.GetAudioAccessorSamples(accessor, 8000, 2, 0, 100, reaper.new_array(199))", "199"),
        ("pcall(function() return reaper.new_array(3)[4] end)", "no index 4"),
        ("pcall(function() return reaper.new_array(3).table(2, 3) end)", "no 3 values"),
        ("pcall(function() return reaper.new_array(3).sort() end)", "sort"),
        ("reaper.new_array()", "takes a size"),
        ("reaper.new_array(0)", "1 to"),
    ],
)
def test_misuse_of_accessors_and_arrays_is_a_fault(
    reaper: Reaper, run: Any, noise_file: Path, code: str, fault: str
) -> None:
    reaper.open(song(noise_file)[0])
    with pytest.raises(ScriptError, match=fault):
        run(f"local accessor = reaper.CreateTrackAudioAccessor(reaper.GetTrack(0, 0))\n{code}")
    assert len(api_accessor.open_accessors(reaper)) == ("Destroy" not in code)


def test_a_render_writes_exactly_the_frames_between_its_bounds(
    reaper: Reaper, run: Any, noise_file: Path, noise: Audio, tmp_path: Path
) -> None:
    project = opened(reaper, noise_file, tmp_path)
    run(f"""
      local ok, targets = reaper.GetSetProjectInfo_String(0, "RENDER_TARGETS", "", false)
      assert(ok and targets == "{tmp_path}/out/x.wav", targets)
      {RENDER}
    """)
    heard, rate = soundfile.read(tmp_path / "out" / "x.wav", dtype="float32")
    assert (rate, soundfile.info(tmp_path / "out" / "x.wav").subtype) == (RATE, "FLOAT")
    np.testing.assert_array_equal(heard.T, noise[:, 100:3100])
    assert len(project.tracks) == 1


def test_stems_are_those_of_the_selected_tracks_after_their_effects(
    reaper: Reaper, run: Any, noise_file: Path, noise: Audio, tmp_path: Path
) -> None:
    project = opened(reaper, noise_file, tmp_path)
    project.values["RENDER_SETTINGS"] = 3.0
    project.strings["RENDER_PATTERN"] = "$project-$track"
    project.tracks[0].values["I_SELECTED"] = 1.0
    same_name = projects.add_track(project, "Guitar", fx=[projects.effect(0.5)], I_SELECTED=1.0)
    projects.add_audio(same_name, noise_file, 0.0)
    projects.add_track(project, "not selected")
    run(RENDER)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["Lied-Guitar-001.wav", "Lied-Guitar.wav"]
    project.master.values["I_SELECTED"] = 1.0
    assert api_render.targets(reaper, project)[0].name == "Lied-Master.wav"
    heard = soundfile.read(tmp_path / "out" / "Lied-Guitar-001.wav", dtype="float32")[0]
    np.testing.assert_array_equal(heard.T, noise[:, 100:3100] * np.float32(0.5))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("RENDER_TAILFLAG", 1.0), ("RENDER_NORMALIZE", 1.0), ("RENDER_NORMALIZE", 512.0), ("RENDER_ADDTOPROJ", 1.0),
        ("RENDER_CHANNELS", 1.0), ("RENDER_SRATE", 16000.0), ("RENDER_BOUNDSFLAG", 1.0), ("RENDER_BOUNDSFLAG", 2.0),
        ("RENDER_FORMAT", "evaw"), ("RENDER_FORMAT2", "evaw"), ("RENDER_PATTERN", "y"), ("RENDER_FILE", "z"),
    ],
)  # fmt: skip
def test_every_setting_that_a_script_forgets_shows_in_what_is_written(
    reaper: Reaper, run: Any, noise_file: Path, tmp_path: Path, setting: str, value: float | str
) -> None:
    project = opened(reaper, noise_file, tmp_path)
    project.time_selection = (0.1, 0.2)
    project.values.update(RENDER_FADEIN=0.1, RENDER_NORMALIZE_TARGET=0.1)

    def written() -> tuple[dict[str, bytes], int]:
        run(RENDER)
        files = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*.wav")}
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        return files, len(project.tracks)

    as_wanted = written()
    (project.values if isinstance(value, float) else project.strings)[setting] = value  # type: ignore[assignment]
    assert written() != as_wanted


@pytest.mark.parametrize("is_partial", [False, True])
def test_a_late_render_plays_until_its_file_is_whole(
    reaper: Reaper, run: Any, noise_file: Path, tmp_path: Path, is_partial: bool
) -> None:
    project, path = opened(reaper, noise_file, tmp_path), tmp_path / "out" / "x.wav"
    how = api_render.behaviour(reaper)
    how.after_cycles, how.is_partial = 3, is_partial
    run(RENDER)
    project.values["RENDER_ENDPOS"] = 0.0
    for _ in range(2):
        reaper.pump()
        assert path.exists() == is_partial
        assert project.playing == 1
    reaper.pump()
    assert (soundfile.info(path).frames, project.playing, reaper.running) == (3000, 0, [])


def test_renders_go_wrong_when_a_test_asks_for_it(reaper: Reaper, run: Any, noise_file: Path, tmp_path: Path) -> None:
    opened(reaper, noise_file, tmp_path)
    how = api_render.behaviour(reaper)
    how.writes_nothing = True
    run(RENDER)
    assert not (tmp_path / "out").exists()
    how.writes_nothing, how.error = False, "the disk is full"
    run(f'local ok, message = pcall(function() {RENDER} end) assert(not ok and message:find("disk is full"))')
    how.error, how.extra_frames = "", 1
    run(RENDER)
    assert soundfile.info(tmp_path / "out" / "x.wav").frames == 3001
    with pytest.raises(ScriptError, match="exists already"):
        run(RENDER)


# --- the projects of everybody's tests --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "make",
    [
        projects.song_project, projects.fx_project, projects.midi_project,
        projects.crossfaded_project, projects.looped_project, projects.folder_project,
    ],
)  # fmt: skip
def test_a_ready_made_project_is_saved_and_sounds(make: Any, tmp_path: Path) -> None:
    project = make(tmp_path)
    assert project.path.is_file()
    assert not project.dirty
    for start_s in (16, 39):
        assert np.abs(audio.master_mix(project, 44100, start_s * 44100, (start_s + 1) * 44100)).max() > 0.05
