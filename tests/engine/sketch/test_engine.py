"""What the embedded engine promises as a whole: `SketchEngine.generate` on songs of which everything is known."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.api import EngineTake, GenerationRequest
from engine.audio import open_source
from engine.sketch import SketchEngine, separate
from protocol.errors import BadArgument, Cancelled, EngineCannot, MissingContext, NoMaterial
from protocol.job import Progress
from protocol.music import TempoMap, TempoPoint, TimeSignature
from protocol.vocabulary import TrackClass, Verb
from tests.support.songs import POP, MemorySource, Song, chord_pitches, render_song, sketch_request

RAMP = TempoMap((TempoPoint(0.0, 100.0, linear=True), TempoPoint(40.0, 120.0)))
MAPS = {
    "4/4 at 120": TempoMap.constant(120.0),
    "4/4 at 97.53": TempoMap.constant(97.53),
    "3/4 at 130": TempoMap.constant(130.0, TimeSignature(3, 4)),
    "6/8 at 90": TempoMap.constant(90.0, TimeSignature(6, 8)),
    "ramp": RAMP,
}


@pytest.fixture(scope="module")
def song() -> Song:
    return render_song()


def make(request: GenerationRequest) -> list[EngineTake]:
    return SketchEngine().generate(request, lambda _: None, lambda: False)


def body(take: EngineTake, region: tuple[int, int]) -> np.ndarray:
    first = region[0] - take.start
    audio = take.audio[:, first : first + region[1] - region[0]]
    assert audio.shape[1] == region[1] - region[0]
    return audio


def spliced_in(song: Song, take: EngineTake, region: tuple[int, int]) -> np.ndarray:
    full = song.audio.copy()
    full[:, slice(*region)] = body(take, region)
    return full


def attack_offsets_ms(audio: np.ndarray, rate: int, times_s: list[float]) -> np.ndarray:
    """How late the steepest rise within 25 ms of each time is."""
    step = rate // 1000
    power = np.convolve(audio.mean(axis=0) ** 2, np.ones(2 * step), "same")[::step]
    rise = np.diff(np.log(power + 1e-7))
    late = []
    for time_s in times_s:
        low, high = (round((time_s + edge) * rate / step) for edge in (-0.025, 0.025))
        late.append(((low + 1 + np.argmax(rise[low:high])) * step / rate - time_s) * 1000.0)
    return np.array(late)


# --- what it is -------------------------------------------------------------------------------------------------------
def test_importing_the_package_loads_no_numeric_library() -> None:
    code = (
        "import sys, engine.sketch; e = engine.sketch.SketchEngine(); e.configure({}); e.capabilities();"
        "print([m for m in ('numpy', 'scipy', 'librosa', 'soxr', 'torch') if m in sys.modules])"
    )
    root = Path(__file__).parents[3]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert result.stdout.strip() == "[]"


def test_every_verb_is_offered_and_every_track_or_a_sentence_says_why_not() -> None:
    offered = SketchEngine().capabilities()
    assert offered.verbs == set(Verb)
    for verb in (Verb.COMPLETE, Verb.LEGO, Verb.EXTRACT):
        for track in TrackClass:
            if track in offered.tracks_of.get(verb, offered.tracks):
                offered.require(verb, [track])
                continue
            with pytest.raises(EngineCannot, match=f"{verb} offers no {track}.*It offers "):
                offered.require(verb, [track])
    assert offered.tracks_of[Verb.EXTRACT] == separate.TRACKS


def test_what_the_options_cannot_say_is_refused_when_the_engine_is_made() -> None:
    with pytest.raises(BadArgument, match="auto, masks or demucs"):
        SketchEngine().configure({"separator": "magic"})


def test_a_request_without_a_song_says_that_it_needs_one(song: Song) -> None:
    with pytest.raises(MissingContext, match="needs the song"):
        make(replace(sketch_request(song, (0, 1000)), source=None))


# --- the region's own content stays unknown ---------------------------------------------------------------------------
def test_no_frame_of_the_region_is_read_when_a_take_is_assembled(song: Song, tmp_path: Path) -> None:
    region = song.frames_of_bars(9, 4)
    make(sketch_request(song, region, cache_dir=tmp_path))
    source = song.source()
    make(sketch_request(song, region, cache_dir=tmp_path, source=source, seeds=(1, 2, 3), strength=0.0))
    assert source.reads
    assert not [read for read in source.reads if read[0] < region[1] and read[1] > region[0]]


@pytest.mark.parametrize("tempo_known", [True, False])
@pytest.mark.parametrize("shift", [0, 3000])
def test_the_take_does_not_depend_on_what_was_in_the_region(song: Song, shift: int, tempo_known: bool) -> None:
    first, last = song.frames_of_bars(9, 4)
    region = first + shift, last + shift
    other = song.audio.copy()
    other[:, slice(*region)] = np.random.default_rng(0).uniform(-1.0, 1.0, other[:, slice(*region)].shape)
    same_hash = song.source().sha256
    takes = [
        make(sketch_request(song, region, source=source, tempo_known=tempo_known))[0]
        for source in (MemorySource(audio, song.rate, sha256=same_hash) for audio in (song.audio, other))
    ]
    assert takes[0].notes == takes[1].notes
    assert np.array_equal(takes[0].audio, takes[1].audio)


def test_work_at_full_rate_is_proportional_to_the_region(song: Song, tmp_path: Path) -> None:
    region = song.frames_of_bars(9, 2)
    make(sketch_request(song, region, cache_dir=tmp_path))
    source = song.source()
    make(sketch_request(song, region, cache_dir=tmp_path, source=source))
    assert sum(stop - start for start, stop in source.reads) < 1.3 * (region[1] - region[0])


# --- time -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", MAPS)
def test_kicks_of_the_take_lie_on_the_grid(name: str) -> None:
    song = render_song(tempo_map=MAPS[name])
    region = song.frames_of_bars(9, 4)
    kicks = [t for t in song.kicks_s if region[0] <= round(t * song.rate) < region[1]]
    for take in make(sketch_request(song, region, seeds=(1, 2), strength=0.3)):
        late = attack_offsets_ms(spliced_in(song, take, region), song.rate, kicks)
        assert np.median(np.abs(late)) < 2.0
        assert np.mean(np.abs(late) < 5.0) > 0.8


@pytest.mark.parametrize("name", MAPS)
def test_downbeats_land_on_downbeats(name: str) -> None:
    song = render_song(tempo_map=MAPS[name])
    region = song.frames_of_bars(9, 4)
    for take in make(sketch_request(song, region, seeds=(1, 2, 3), strength=0.0)):
        beat = 0.0
        per_bar = song.tempo_map.signature_at(0.0).beats_per_bar
        for time_s, beats in take.notes["path"]:
            into = song.tempo_map.bar_at(time_s + 1e-4)[1]
            assert into % per_bar == pytest.approx(beat % per_bar, abs=0.01)
            beat += beats
        assert beat == pytest.approx(4 * per_bar, abs=0.01)


def test_a_region_off_the_grid_keeps_the_beats_where_they_are(song: Song) -> None:
    region = (round(16.23 * song.rate), round(22.91 * song.rate))
    kicks = [t for t in song.kicks_s if 16.3 < t < 22.8]
    for take in make(sketch_request(song, region, seeds=(1, 2, 3))):
        assert np.median(np.abs(attack_offsets_ms(spliced_in(song, take, region), song.rate, kicks))) < 2.0


@pytest.mark.parametrize("length_s", [0.03, 0.17, 0.31])
def test_a_region_shorter_than_a_beat_is_filled(song: Song, length_s: float) -> None:
    start = round(16.23 * song.rate)
    region = (start, start + round(length_s * song.rate))
    (take,) = make(sketch_request(song, region))
    assert np.abs(body(take, region)).max() > 0.01


def test_without_a_tempo_the_grid_is_estimated_and_said_to_be() -> None:
    song = render_song(tempo_map=TempoMap.constant(97.53))
    region = song.frames_of_bars(9, 4)
    wrong = TempoMap.constant(120.0)
    (take,) = make(sketch_request(song, region, tempo_known=False, tempo_map=wrong))
    assert take.notes["grid"] == "estimated"
    assert take.notes["bpm"] == pytest.approx(97.53, abs=0.05)
    kicks = [t for t in song.kicks_s if region[0] <= round(t * song.rate) < region[1]]
    assert np.median(np.abs(attack_offsets_ms(spliced_in(song, take, region), song.rate, kicks))) < 5.0


def test_music_without_attacks_and_without_a_tempo_still_makes_a_take() -> None:
    rate = 22_050
    drone = 0.1 * np.sin(2 * np.pi * 220.0 * np.arange(12 * rate) / rate)[None].astype(np.float32)
    song = Song(drone, rate, TempoMap.constant(120.0), (), ())
    region = (5 * rate, 7 * rate)
    (take,) = make(sketch_request(song, region, tempo_known=False))
    level = np.sqrt(np.mean(body(take, region).reshape(-1, rate // 50) ** 2, axis=1))
    assert level.min() > 0.5 * 0.0707


def test_the_source_may_begin_anywhere_in_the_project(song: Song) -> None:
    """The song dragged two bars later in the project: the same music on the same beats."""
    region = song.frames_of_bars(9, 4)
    (take,) = make(sketch_request(song, region))
    (moved,) = make(sketch_request(song, region, source_start_s=4.0))
    assert np.array_equal(take.audio, moved.audio)
    assert [beats for _, beats in take.notes["path"]] == [beats for _, beats in moved.notes["path"]]
    assert moved.notes["path"][0][0] == pytest.approx(take.notes["path"][0][0] + 4.0)


# --- sound ------------------------------------------------------------------------------------------------------------
def test_takes_are_float32_in_all_channels_and_cover_the_region_with_lead_and_tail() -> None:
    for channels in (1, 2, 6):
        song = render_song(channels=channels, chords=POP * 2)
        region = song.frames_of_bars(4, 2)
        (take,) = make(sketch_request(song, region))
        assert take.audio.dtype == np.float32
        assert take.audio.shape[0] == channels
        assert take.start <= region[0]
        assert take.start + take.audio.shape[1] >= region[1]
        assert np.isfinite(take.audio).all()
        loud = np.sqrt((body(take, region) ** 2).mean(axis=1))
        assert loud[0] * song.audio[-1].std() == pytest.approx(loud[-1] * song.audio[0].std(), rel=0.01)


def test_a_real_file_resampled_to_the_project_gives_the_kicks_their_place(song: Song, tmp_path: Path) -> None:
    file = tmp_path / "Gesänge ü.wav"
    soundfile.write(file, song.audio.T, song.rate, subtype="FLOAT")
    source = open_source(file, 48_000, tmp_path / "cache")
    at_48k = replace(song, rate=48_000)
    region = at_48k.frames_of_bars(9, 4)
    (take,) = make(sketch_request(at_48k, region, source=source, cache_dir=tmp_path / "cache"))
    full = source.read(0, source.frames)
    full[:, slice(*region)] = body(take, region)
    kicks = [t for t in song.kicks_s if region[0] <= round(t * 48_000) < region[1]]
    assert np.median(np.abs(attack_offsets_ms(full, 48_000, kicks))) < 2.0


def test_joins_neither_click_nor_dip(song: Song) -> None:
    region = song.frames_of_bars(6, 8)
    rate = song.rate
    bends = np.abs(np.diff(song.audio.mean(axis=0), n=2))
    window = rate // 20
    levels = np.sqrt((song.audio[0, : len(song.audio[0]) // window * window].reshape(-1, window) ** 2).mean(axis=1))
    for take in make(sketch_request(song, region, seeds=(1, 2, 3), strength=0.0)):
        audio = body(take, region)
        at = 0.0
        assert np.abs(np.diff(audio.mean(axis=0), n=2)).max() < 1.2 * bends.max()
        for _, beats in take.notes["path"][:-1]:
            at += beats * 0.5
            before_line = audio[0, round((at - 0.09) * rate) : round((at - 0.002) * rate)]
            assert np.abs(np.diff(before_line, n=2)).max() < np.quantile(bends, 0.995)
            assert np.sqrt((before_line**2).mean()) > 0.7 * levels.min()


def chord_of(audio: np.ndarray, rate: int, names: set[str]) -> str:
    """Which of the chords these 0.4 s hold: energy of its three notes in one octave."""
    signal = audio.mean(axis=0)
    spectrum = np.abs(np.fft.rfft(signal * np.hanning(len(signal)), n=1 << 16)) ** 2

    def energy(pitch: int) -> float:
        centre = round(440.0 * 2 ** ((60 + pitch - 69) / 12) * (1 << 16) / rate)
        return float(spectrum[centre - 8 : centre + 9].sum())

    return max(sorted(names), key=lambda name: sum(np.sqrt(energy(p)) for p in chord_pitches(name)))


def test_chords_at_the_edges_follow_the_progression_where_a_pasted_excerpt_does_not() -> None:
    song = render_song(chords=POP * 6)
    names, rate = set(POP), song.rate
    bar, right, pasted, total = 2 * rate, 0, 0, 0
    for first_bar in (7, 10, 12, 13, 15):
        region = song.frames_of_bars(first_bar, 3)  # three bars: a paste of those before is one chord off
        before = song.audio[:, region[0] - 3 * bar : region[0]]
        for take in make(sketch_request(song, region, seeds=(1, 2))):
            audio = body(take, region)
            for at, offset in ((first_bar, 0), (first_bar + 2, 2 * bar)):
                beat = slice(offset + rate // 20, offset + rate // 2)
                expected = song.chords[at - 1]
                right += chord_of(audio[:, beat], rate, names) == expected
                pasted += chord_of(before[:, beat], rate, names) == expected
                total += 1
    assert right / total >= 0.8
    assert pasted / total <= 0.2


def test_an_extension_goes_on_with_the_progression_instead_of_starting_again() -> None:
    song = render_song(chords=(*POP, *POP, *POP, "Am", "F"))  # ends in the middle: C is next
    end = song.audio.shape[1]
    for take in make(sketch_request(song, (end, end + 4 * song.rate), Verb.EXTEND, seeds=(1, 2, 3), strength=0.7)):
        heard = [song.chord_at(time_s + 0.01) for time_s, _ in take.notes["path"]]
        assert heard[0] == "C"
        assert take.notes["joins"][-1] is None


def test_a_prepended_part_leads_into_the_first_bar() -> None:
    song = render_song(chords=("C", "G", *POP, *POP, *POP))  # begins in the middle: Am, F come before
    region = (-4 * song.rate, 0)
    for take in make(sketch_request(song, region, Verb.PREPEND, seeds=(1, 2, 3), strength=0.7)):
        time_s, beats = take.notes["path"][-1]
        assert song.chord_at(time_s + beats * 0.5 - 0.1) == "F"
        assert body(take, region).shape[1] == 4 * song.rate


# --- variation --------------------------------------------------------------------------------------------------------
def long_song() -> Song:
    return render_song(chords=(*POP, *POP, "Dm", "G", "C", "Am", *POP, "Dm", "G", "C", "Am") * 3, rate=11_025)


def test_seeds_take_different_paths_where_the_song_offers_them() -> None:
    song = long_song()
    request = sketch_request(song, song.frames_of_bars(29, 4), seeds=(1, 2, 3, 4))
    paths = {json.dumps(take.notes["path"]) for take in make(request)}
    assert len(paths) >= 3


def test_the_same_seed_gives_the_same_bits_cold_or_warm_and_in_any_company(song: Song, tmp_path: Path) -> None:
    request = sketch_request(song, song.frames_of_bars(9, 4), seeds=(7,), cache_dir=tmp_path)
    (cold,) = make(request)
    assert list(tmp_path.iterdir())
    (warm,) = make(request)
    in_company = make(replace(request, seeds=(3, 7), cache_dir=None))[1]
    for other in (warm, in_company):
        assert np.array_equal(cold.audio, other.audio)
        assert cold.notes == other.notes


def test_high_strength_keeps_closer_to_the_obvious_than_low_strength() -> None:
    song = long_song()
    region = song.frames_of_bars(29, 4)

    def worst_joins(strength: float) -> float:
        takes = make(sketch_request(song, region, seeds=tuple(range(1, 9)), strength=strength))
        return float(np.mean([max(take.notes["joins"]) for take in takes]))

    def paths(strength: float) -> int:
        takes = make(sketch_request(song, region, seeds=tuple(range(1, 9)), strength=strength))
        return len({json.dumps(take.notes["path"]) for take in takes})

    assert worst_joins(1.0) < worst_joins(0.0)
    assert paths(1.0) < paths(0.0)


def test_no_long_verbatim_copy_and_nothing_twice_where_there_is_material() -> None:
    song = long_song()
    for take in make(sketch_request(song, song.frames_of_bars(29, 8), seeds=(1, 2, 3))):
        assert max(beats for _, beats in take.notes["path"]) <= 16
        assert len(take.notes["path"]) >= 3
        assert take.notes["material_share"] == 1.0


# --- hard times -------------------------------------------------------------------------------------------------------
def test_a_song_that_is_all_region_is_refused_with_what_to_do_where_the_band_must_not_play() -> None:
    song = render_song(chords=("Am", "F"))
    engine = SketchEngine()
    engine.configure({"fill": False})
    with pytest.raises(NoMaterial, match=r"0 whole beats outside the region.*Choose a shorter region"):
        engine.generate(sketch_request(song, song.frames_of_bars(1, 2)), lambda _: None, lambda: False)


def test_where_the_song_is_all_region_the_band_plays_and_the_recipe_says_so() -> None:
    song = render_song(chords=("Am", "F"))
    region = song.frames_of_bars(1, 2)
    (take,) = make(sketch_request(song, region, key="D minor"))
    assert take.start < region[0]
    assert take.start + take.audio.shape[1] > region[1]
    assert "too little material" in take.notes["filled"]
    assert take.notes["key"] == "D minor"
    assert take.midi is not None


def test_a_fill_hears_nothing_of_the_region() -> None:
    song = render_song(chords=("Am", "F"))
    region = song.frames_of_bars(1, 2)
    silenced = replace(song, audio=np.zeros_like(song.audio))
    (take,), (other,) = make(sketch_request(song, region)), make(sketch_request(silenced, region))
    assert np.array_equal(take.audio, other.audio)


def test_one_bar_of_material_fills_the_other() -> None:
    song = render_song(chords=("Am", "F"))
    (take,) = make(sketch_request(song, song.frames_of_bars(2, 1)))
    assert take.notes["path"] == [[0.0, 4.0]]


def test_a_short_song_can_be_extended_far_beyond_its_length() -> None:
    song = render_song(chords=("Am", "F"))
    end = song.audio.shape[1]
    region = (end, end + 16 * song.rate)
    (take,) = make(sketch_request(song, region, Verb.EXTEND))
    assert np.sqrt(np.mean(body(take, region).reshape(2, -1, song.rate) ** 2, axis=(0, 2))).min() > 0.01


def test_cancel_is_answered_at_every_point_of_the_work(song: Song, tmp_path: Path) -> None:
    cold = sketch_request(song, song.frames_of_bars(9, 4))
    warm = replace(cold, cache_dir=tmp_path)
    asked = {}
    for name, request in (("cold", cold), ("filling", warm), ("warm", warm)):
        calls: list[int] = []
        SketchEngine().generate(request, lambda _: None, lambda calls=calls: bool(calls.append(1)))
        asked[name] = len(calls)
    analysing = asked["cold"] - asked["warm"]
    assert analysing > 5
    assert asked["warm"] > 10
    for request, points in ((cold, analysing + 1), (warm, asked["warm"])):
        for point in range(1, points + 1):
            polls = iter(range(1, point + 1))  # one more would be asking again after it was told
            with pytest.raises(Cancelled):
                SketchEngine().generate(request, lambda _: None, lambda polls=polls, point=point: next(polls) == point)


def test_progress_rises_to_the_end(song: Song) -> None:
    seen: list[Progress] = []
    SketchEngine().generate(sketch_request(song, song.frames_of_bars(9, 4), seeds=(1, 2)), seen.append, lambda: False)
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert {progress.stage for progress in seen} == {"reading", "analysing", "choosing", "assembling"}


def test_notes_can_be_written_as_json_and_account_for_every_beat(song: Song) -> None:
    (take,) = make(sketch_request(song, song.frames_of_bars(9, 4)))
    notes = json.loads(json.dumps(dict(take.notes)))
    assert sum(beats for _, beats in notes["path"]) == 16.0
    assert len(notes["joins"]) == len(notes["path"]) + 1
    assert all(a != b for a, b in pairwise(notes["path"]))


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("first_seed", [0, 3, 1234, 2**31 - 4])
def test_four_variations_are_four_takes_where_the_song_offers_them(strength: float, first_seed: int) -> None:
    song = long_song()
    seeds = tuple(range(first_seed, first_seed + 4))
    takes = make(sketch_request(song, song.frames_of_bars(29, 4), seeds=seeds, strength=strength))
    assert len({json.dumps(take.notes["path"]) for take in takes}) == 4
    assert len({take.audio.tobytes() for take in takes}) == 4
