"""Chords and sections around a region: heard right, used, and without a look into the region."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.report import measure
from engine.sketch.analysis import Features, analyse
from engine.sketch.grid import Grid, grid_for
from engine.sketch.harmony_path import Harmony, harmony
from engine.sketch.material import Material, material
from engine.sketch.path import Path, choose
from engine.sketch.rearrange import rearranged
from engine.splice import splice
from engine.window import make_window
from protocol.task import Task
from protocol.vocabulary import Verb
from tests.support import corpus
from tests.support.corpus import CorpusSong
from tests.support.songs import MemorySource, render_song, sketch_request

RATE = 22_050


def heard(song: CorpusSong, first_bar: int, bars: int, audio: np.ndarray | None = None) -> tuple[Features, Grid]:
    request = song.request(Verb.REPAINT, first_bar, bars)
    source = song.source(audio)
    features = analyse(source, (0, source.frames), None, lambda _: None, lambda: False)
    return features, grid_for(request, features, request.region, lambda: False)


def described(song: CorpusSong, first_bar: int, bars: int) -> Material:
    features, grid = heard(song, first_bar, bars)
    return material(song.source(), grid, features, song.frames_of_bars(first_bar, bars))


def named(found: Harmony, slot: int) -> tuple[int, ...]:
    return found.chords[found.chord[slot]].pitch_classes[:2] if found.chord[slot] >= 0 else ()


@pytest.mark.parametrize("name", ["ballad-92", "six-eight-96", "shuffle-108"])
def test_chords_outside_the_region_are_heard_and_none_inside(name: str) -> None:
    song = corpus.song(name, RATE)
    region = song.frames_of_bars(9, 4)
    features, grid = heard(song, 9, 4)
    found = harmony(features, grid, region)
    assert found is not None
    right = []
    for slot, (start, stop) in enumerate(zip(grid.lines[:-1], grid.lines[1:], strict=True)):
        if start > region[0] - 10 and stop < region[1] + 10:
            assert found.chord[slot] == -1
        elif start >= 0 and stop <= song.mix.shape[1] - RATE:
            true = song.chord_at((start + stop) / 2 / RATE)
            right.append(true is not None and named(found, slot) == true.pitch_classes[:2])
    assert np.mean(right) > 0.85


@pytest.mark.parametrize("edge", [0, 3000])
def test_chords_and_sections_do_not_depend_on_what_was_in_the_region(edge: int) -> None:
    song = corpus.song("club-128", RATE)
    first, last = song.frames_of_bars(9, 4)
    region = first + edge, last + edge
    changed = song.mix.copy()
    changed[:, slice(*region)] = np.random.default_rng(0).uniform(-1.0, 1.0, changed[:, slice(*region)].shape)
    found = []
    for audio in (song.mix, changed):
        source = MemorySource(np.array(audio), RATE, sha256="same")
        request = replace(song.request(Verb.REPAINT, 9, 4), region=region, source=source)
        features = analyse(source, (0, source.frames), None, lambda _: None, lambda: False)
        grid = grid_for(request, features, region, lambda: False)
        found.append((features, material(source, grid, features, region)))
    (heard_before, one), (heard_after, other) = found
    assert not np.array_equal(heard_before.peaks.tonal, heard_after.peaks.tonal)
    assert one.harmony is not None
    assert other.harmony is not None
    assert one.harmony.chords == other.harmony.chords
    assert np.array_equal(one.harmony.chord, other.harmony.chord)
    assert np.array_equal(one.harmony.follows, other.harmony.follows)
    assert np.array_equal(one.section, other.section)


def test_music_without_pitch_has_no_harmony_and_still_gives_a_take() -> None:
    rate = 22_050
    noise = np.random.default_rng(1).standard_normal((1, 24 * rate)).astype(np.float32)
    beats = np.arange(noise.shape[1]) % (rate // 2)
    song = replace(render_song(), audio=(0.3 * noise * np.exp(-beats / (0.05 * rate))).astype(np.float32))
    region = song.frames_of_bars(5, 2)
    request = sketch_request(song, region)
    features = analyse(request.source, (0, request.source.frames), None, lambda _: None, lambda: False)
    grid = grid_for(request, features, region, lambda: False)
    described = material(request.source, grid, features, region)
    assert described.harmony is None
    assert len(choose(described, 0.5, 1, "x", lambda: False).sources) == 8


def test_a_chord_that_never_follows_another_in_the_song_is_unusual_after_it() -> None:
    song = corpus.song("waltz-144", RATE)
    features, grid = heard(song, 25, 2)
    found = harmony(features, grid, song.frames_of_bars(25, 2))
    assert found is not None

    def unusual(before: int, after: int) -> float:
        """From the end of one bar to the beginning of another."""
        slots = [np.flatnonzero((grid.bar == number) & (grid.place == at)) for number, at in ((before, 2), (after, 0))]
        return float(found.unusual(slots[0], slots[1], np.array([True]))[0, 0])

    assert unusual(4, 5) < 0.6  # Bm to G, as the song goes
    assert unusual(2, 11) < 0.6  # D to Bm, from one chorus into another
    assert unusual(5, 3) == 1.0  # G to Bm, which it never does


# --- what it is good for ----------------------------------------------------------------------------------------------
def due(song: CorpusSong, chosen: Material, path: Path) -> float:
    """The share of the path's slots whose chord is the one that the region held."""
    middles = (chosen.grid.lines[:-1] + chosen.grid.lines[1:]) / 2 / song.rate
    pairs = (
        (song.chord_at(middles[a]), song.chord_at(middles[b])) for a, b in zip(path.targets, path.sources, strict=True)
    )
    return float(np.mean([a and b and a.pitch_classes[:2] == b.pitch_classes[:2] for a, b in pairs]))


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_progression_of_a_section_that_comes_again_is_found_under_another_melody(strength: float) -> None:
    right, by_chance = [], []
    for name, first, bars in (("club-128", 5, 4), ("club-128", 12, 4), ("six-eight-96", 9, 4), ("ballad-92", 17, 4)):
        song = corpus.song(name, RATE)
        chosen = described(song, first, bars)
        right += [due(song, chosen, choose(chosen, 1 - strength, seed, "x", lambda: False)) for seed in (1, 2, 3)]
        pasted = Path(chosen.targets, chosen.targets - len(chosen.targets), 0.0, ())
        by_chance.append(due(song, chosen, pasted))
    assert np.mean(right) > 0.85
    assert np.mean(by_chance) < 0.6


@pytest.mark.slow
def test_edges_change_no_more_than_the_song_does_where_pasted_bars_do() -> None:
    """The judge's own measure: by how many dB the worse edge exceeds the song's own 90th percentile."""
    made, pasted = [], []
    for name in corpus.NAMES:
        song = corpus.song(name, RATE)
        for first, bars in ((7, 4), (13, 3)):
            request = song.request(Verb.REPAINT, first, bars, task=Task(strength=0.5), seeds=(1, 2))
            region = request.region
            request = replace(request, window=make_window(song.source(), region, 5 * RATE, 5 * RATE))
            takes = rearranged(request, lambda _: None, lambda: False)
            start = region[0] - (region[1] - region[0])
            takes.append(replace(takes[0], audio=song.mix[:, start : region[0]].copy(), start=region[0], seed=3))
            for take in takes:
                spliced = splice(take, request.window, region)
                seam = measure(spliced.audio, region=region, rate=RATE, request=request, spliced_gain_db=0.0)["seam"]
                over = max(seam[edge]["change_db"] - seam[edge]["song_high_db"] for edge in ("start", "end"))
                (pasted if take.seed == 3 else made).append(over)
    assert max(made) < 2.0
    assert np.maximum(made, 0.0).mean() < 0.15
    assert np.maximum(pasted, 0.0).mean() > 0.3


def test_a_take_at_another_rate_than_the_analysis_does_not_depend_on_the_region_either() -> None:
    song = corpus.song("ramp-104-124", 44_100)
    request = song.request(Verb.REPAINT, 9, 3, seeds=(1, 2))
    changed = song.mix.copy()
    changed[:, slice(*request.region)] = 0.0
    sources = (MemorySource(np.array(audio), 44_100, sha256="same") for audio in (song.mix, changed))
    one, other = (rearranged(replace(request, source=source), lambda _: None, lambda: False) for source in sources)
    for a, b in zip(one, other, strict=True):
        assert a.notes == b.notes
        assert np.array_equal(a.audio, b.audio)
