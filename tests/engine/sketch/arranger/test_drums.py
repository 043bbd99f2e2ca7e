"""The drummer and the percussionist: playable, in style, moved by form and energy, never the same fill for ever."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.sketch.arranger.drums import write_drums
from engine.sketch.arranger.fills import TOMS
from engine.sketch.arranger.groove import plan_groove
from engine.sketch.arranger.percussion import write_percussion
from engine.sketch.score import Drum, Instrument, on_tick
from engine.sketch.style import Beat, Feel, Style, parse_style
from tests.support.sheets import notes_between, sheet, sheets

KITS = (Instrument.ACOUSTIC_KIT, Instrument.BRUSH_KIT, Instrument.ELECTRONIC_KIT)
FEET = {Drum.KICK, Drum.PEDAL_HAT}


def chance(seed):
    return np.random.Generator(np.random.PCG64(seed))


def play(of, style=None, seed=1, write=write_drums):
    style = style or Style()
    groove = plan_groove(of, style, chance(seed))
    return write(of, style, groove, chance(seed + 1)), groove


def hits(part, drum):
    return [note for note in part.notes if note.pitch == drum]


def places(part, drum, bar):
    """Sixteenths of the bar on which a drum is hit."""
    return [round((n.written - bar.start) * 4) for n in notes_between(part, bar.start, bar.end) if n.pitch == drum]


STYLES = st.builds(
    Style,
    beat=st.sampled_from([None, *Beat]),
    feel=st.sampled_from([None, *Feel]),
    instruments=st.sampled_from([(), *((kit,) for kit in KITS)]),
    density=st.floats(-1, 1),
    intensity=st.floats(-1, 1),
)


@settings(max_examples=50)
@given(sheets(), STYLES, st.integers(0, 99), st.sampled_from([write_drums, write_percussion]))
def test_every_part_is_playable_and_on_the_page(of, style, seed, write):
    part, groove = play(of, style, seed, write)
    assert part == play(of, style, seed, write)[0]
    assert part.instrument.is_kit
    assert list(part.notes) == sorted(part.notes, key=lambda note: (note.beat, note.pitch))
    hands, last = defaultdict(set), groove.bars[-1].bar.end
    for note in part.notes:
        assert on_tick(note.beat) == note.beat
        assert on_tick(note.beats) == note.beats > 0
        assert 1 <= note.velocity <= 127
        assert of.bars[0].start - 1e-3 <= note.written < last
        if note.pitch not in FEET:
            hands[note.written].add(note.pitch)
    assert len({(note.written, note.pitch) for note in part.notes}) == len(part.notes)
    assert all(len(drums) <= 2 for drums in hands.values())


@settings(max_examples=40)
@given(sheets(), STYLES, st.integers(0, 99))
def test_toms_are_for_fills_and_fills_are_where_they_are_planned(of, style, seed):
    part, groove = play(of, style, seed)
    for planned in groove.bars:
        if not planned.fill:
            assert not [n for n in notes_between(part, planned.bar.start, planned.bar.end) if n.pitch in TOMS]


@pytest.mark.parametrize("beat", [Beat.BACKBEAT, Beat.FOUR_ON_THE_FLOOR, Beat.HALF_TIME, Beat.SWING_RIDE])
@pytest.mark.parametrize("energy", [0.2, 0.5, 0.9])
def test_a_planned_fill_changes_the_end_of_its_bar(beat, energy):
    for seed in range(6):
        of = sheet(bars=8, sections="A4 B4", energy=[energy] * 8)
        part, groove = play(of, Style(beat=beat), seed)
        before, fill = groove.bars[1].bar, groove.bars[3].bar
        assert groove.bars[3].fill
        shape = [
            {(round(n.written - bar.start, 3), n.pitch) for n in notes_between(part, bar.end - 1, bar.end)}
            for bar in (before, fill)
        ]
        assert {(b - 0, p) for b, p in shape[0]} != shape[1]


def test_fills_differ_from_seed_to_seed_and_grow_with_energy():
    def fill(seed, energy):
        of = sheet(bars=8, sections="A4 B4", energy=[energy] * 8)
        part, groove = play(of, Style(), seed)
        bar = groove.bars[3].bar
        return tuple((round(n.written, 3), n.pitch) for n in notes_between(part, bar.start + 2, bar.end))

    loud = [fill(seed, 0.9) for seed in range(12)]
    assert len(set(loud)) >= 5
    toms = [sum(pitch in TOMS for _, pitch in notes) for notes in loud]
    assert max(toms) >= 6
    assert all(pitch not in TOMS for seed in range(12) for _, pitch in fill(seed, 0.2))


def test_kick_and_backbeat_are_the_plans():
    for seed in range(5):
        part, groove = play(sheet(bars=8, sections="A4 B4"), Style(beat=Beat.BACKBEAT), seed)
        for planned in groove.bars:
            kicks = {n.written for n in hits(part, Drum.KICK)}
            if not planned.fill:
                assert set(planned.kick) <= kicks
                for beat in planned.snare:
                    assert any(n.written == beat and n.velocity > 60 for n in hits(part, Drum.SNARE))


def test_dynamics_follow_the_song():
    of = sheet(bars=8, energy=[0.05, 0.05, 0.05, 0.05, 0.95, 0.95, 0.95, 0.95])
    part, _ = play(of)
    quiet, loud = (notes_between(part, start, start + 16) for start in (0, 16))
    assert np.mean([n.velocity for n in quiet]) < 0.75 * np.mean([n.velocity for n in loud])
    assert len(quiet) < len(loud)
    assert Drum.SIDE_STICK in {n.pitch for n in quiet}
    assert Drum.SNARE not in {n.pitch for n in quiet}
    assert Drum.CRASH not in {n.pitch for n in quiet}


def test_sections_open_with_a_cymbal():
    part, _ = play(sheet(bars=8, sections="A4 B4", energy=[0.8] * 8))
    crashes = {n.written for n in hits(part, Drum.CRASH)}
    assert {0.0, 16.0} <= crashes
    assert crashes <= {0.0, 16.0}


def test_a_phrase_turns_in_its_fourth_bar():
    part, _ = play(sheet(bars=6))
    bars = sheet(bars=6).bars
    assert 14 in places(part, Drum.OPEN_HAT, bars[3])
    assert not places(part, Drum.OPEN_HAT, bars[1])


def test_swing_rides_and_closes_the_foot_on_two_and_four():
    of = sheet(bpm=160)
    part, groove = play(of, parse_style("jazz, loud"))
    bar = of.bars[1]
    assert {round((n.written - bar.start) * 960) for n in notes_between(part, 4, 8) if n.pitch == Drum.PEDAL_HAT} == {
        960,
        2880,
    }
    offbeats = [n.written % 1 for n in hits(part, Drum.RIDE) if n.written % 1]
    assert offbeats
    assert all(abs(place - groove.swing) < 0.002 for place in offbeats)


@pytest.mark.parametrize(
    ("words", "kit", "has", "lacks"),
    [
        ("brushed jazz", Instrument.BRUSH_KIT, Drum.PEDAL_HAT, Drum.CRASH),
        ("house", Instrument.ELECTRONIC_KIT, Drum.CLAP, Drum.SNARE),
        ("disco", Instrument.ACOUSTIC_KIT, Drum.OPEN_HAT, Drum.RIDE),
        ("bossa nova", Instrument.ACOUSTIC_KIT, Drum.SIDE_STICK, Drum.SNARE),
        ("reggae", Instrument.ACOUSTIC_KIT, Drum.SIDE_STICK, Drum.SNARE),
        ("march", Instrument.ACOUSTIC_KIT, Drum.SNARE, Drum.CLOSED_HAT),
    ],
)
def test_kits_and_their_sounds_by_style(words, kit, has, lacks):
    part, _ = play(sheet(bars=4), parse_style(words))
    assert part.instrument is kit
    pitches = Counter(note.pitch for note in part.notes)
    assert pitches[has]
    assert not pitches[lacks]


def test_a_kit_that_is_ruled_out_is_not_played():
    part, _ = play(sheet(), Style(beat=Beat.SWING_RIDE, without=frozenset({Instrument.BRUSH_KIT})))
    assert part.instrument is Instrument.ACOUSTIC_KIT


def test_ghost_notes_are_ghosts():
    found = []
    for seed in range(6):
        part, groove = play(sheet(bars=4, bpm=95), Style(beat=Beat.BREAKBEAT), seed)
        backbeats = {beat for planned in groove.bars for beat in planned.snare}
        found += [n.velocity for n in hits(part, Drum.SNARE) if n.written not in backbeats]
    assert found
    assert max(found) < 60


def test_seeds_differ_and_the_same_seed_is_the_same_part():
    parts = [play(sheet(bars=8, sections="A4 B4"), seed=seed)[0] for seed in range(4)]
    shapes = {tuple((n.written, n.pitch) for n in part.notes) for part in parts}
    assert len(shapes) == 4


def test_percussion_fills_the_gaps_of_the_hats():
    of = sheet(bars=4, bpm=100)
    percussion, groove = play(of, write=write_percussion)
    drums, _ = play(of)
    assert groove.bars[0].step == 0.5
    shaken = {n.written for n in percussion.notes if n.pitch in (Drum.SHAKER, Drum.CABASA)}
    hats = {n.written for n in drums.notes if n.pitch in (Drum.CLOSED_HAT, Drum.RIDE)}
    assert len(shaken - hats) >= len(shaken) / 2


def test_percussion_is_quieter_and_sparser_where_the_song_is():
    of = sheet(bars=8, energy=[0.1] * 4 + [0.9] * 4)
    part, _ = play(of, write=write_percussion)
    assert len(notes_between(part, 0, 16)) < 0.5 * len(notes_between(part, 16, 32))
