"""The plan that all players share: it locks to the song, obeys style words, and knows form and meter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.sketch.arranger.groove import FILL_EVERY, plan_groove
from engine.sketch.arranger.meter import cells, pulses
from engine.sketch.score import on_tick
from engine.sketch.song_analysis import analyse_song
from engine.sketch.style import Beat, Feel, Style
from protocol.vocabulary import Verb
from tests.support import corpus
from tests.support.sheets import METERS, sheet, sheets


def plan(of, style=None, seed=1):
    return plan_groove(of, style or Style(), np.random.Generator(np.random.PCG64(seed)))


def pattern(planned, beats):
    """As sixteenths of the bar."""
    places = {round((beat - planned.bar.start) * 4) for beat in beats}
    return "".join("x" if place in places else "." for place in range(round(planned.bar.beats * 4)))


SONGS = [
    ("x.....x.x.......", "....x.......x..."),
    ("x..x..x...x.....", "....x.......x..."),
    ("x.........x.....", "........x......."),
    ("x.x.....x.......", "......x.....x..."),
    ("x...x...x...x...", "....x.......x..."),
]


@pytest.mark.parametrize(("low", "middle"), SONGS)
def test_the_plan_locks_to_the_song(low, middle):
    for planned in plan(sheet(accents=(low, middle, "o.o.o.o.o.o.o.o."))).bars:
        assert pattern(planned, planned.kick) == low
        assert pattern(planned, planned.snare) == middle
        assert planned.step == 0.5


def test_a_bar_that_differs_is_heard_as_it_is():
    plain, other = "x.......x.......", "x..x..x........."
    lows = "".join([plain] * 3 + [other] + [plain] * 4)
    of = sheet(accents=("x...", "....x.......x...", "."))
    strength = of.accents.strength
    strength[:, 0] = [1.0 if hit == "x" else 0.0 for hit in lows]
    planned = plan(of).bars
    assert pattern(planned[3], planned[3].kick) == other
    assert pattern(planned[2], planned[2].kick) == plain


def test_a_busy_song_is_not_doubled_note_by_note():
    for planned in plan(sheet(accents=("x" * 16, "x" * 16, "x" * 16))).bars:
        assert len(planned.kick) <= 6
        assert pattern(planned, planned.snare) == "....x.......x..."


def test_silent_accents_leave_the_style_to_decide():
    assert plan(sheet(accents=(".", ".", "."))).beat is Beat.BACKBEAT
    assert all(planned.kick and planned.snare for planned in plan(sheet(accents=(".", ".", "."))).bars)


@pytest.mark.parametrize(
    ("high", "bpm", "step"), [("x" * 16, 90, 0.25), ("x.", 90, 0.5), ("x...", 90, 1.0), ("x" * 16, 220, 0.5)]
)
def test_the_subdivision_is_that_of_the_songs_cymbals_as_far_as_hands_can_play_it(high, bpm, step):
    of = sheet(bpm=bpm, accents=("x.......x.......", "....x.......x...", high))
    assert {planned.step for planned in plan(of).bars} == {step}


def test_a_style_word_outweighs_the_song_but_the_downbeats_stay():
    of = sheet(accents=("..x...x...x...x.", "....x.......x...", "x."))
    four = plan(of, Style(beat=Beat.FOUR_ON_THE_FLOOR)).bars
    assert {pattern(planned, planned.kick) for planned in four} == {"x...x...x...x..."}
    half = plan(of, Style(beat=Beat.HALF_TIME)).bars
    assert {pattern(planned, planned.snare) for planned in half} == {"........x......."}
    for beat in set(Beat) - {Beat.ONE_DROP}:
        assert all(on_tick(p.bar.start) in p.kick for p in plan(of, Style(beat=beat)).bars), beat


@pytest.mark.parametrize(("name", "kick"), [("club-128", 1.0), ("waltz-144", 0.8), ("ramp-104-124", 0.8)])
def test_of_a_song_that_was_listened_to_the_backbeat_is_found_and_most_kicks(name, kick):
    song = corpus.song(name)
    analysis = analyse_song(song.request(Verb.COMPLETE, 5, 8), lambda _: None, lambda: False)
    groove = plan(analysis.lead_sheet(0.0, song.end_beat))
    snares = corpus.PLANS[name].drumming.snares
    for planned in groove.bars:
        assert [beat - planned.bar.start for beat in planned.snare] == pytest.approx(sorted(snares), abs=1e-3)
    planned = np.array([groove.swung(beat) for one in groove.bars for beat in one.kick])
    kicks = np.array([song.tempo_map.beat_at(time_s) for time_s in song.kicks_s])
    assert np.mean(np.abs(kicks[:, None] - planned).min(axis=1) < 0.1) >= kick
    assert np.mean(np.abs(kicks[:, None] - planned).min(axis=0) < 0.1) >= 0.9


def test_of_a_styles_variants_the_one_nearest_to_the_song_is_taken():
    for low in ("x.....x...x.....", "x.x.......xx....", "x..x..x...x....."):
        planned = plan(sheet(accents=(low, ".", ".")), Style(beat=Beat.BREAKBEAT)).bars[0]
        assert pattern(planned, planned.kick) == low


def test_fills_lead_into_sections_and_every_eight_bars_and_nowhere_else():
    planned = plan(sheet(bars=20, sections="A4 B4 A9 C3")).bars
    assert [index for index, one in enumerate(planned) if one.fill] == [3, 7, 15, 16]
    assert [index for index, one in enumerate(planned) if one.opens] == [0, 4, 8, 17]
    assert [one.section for one in planned[::4]] == ["A", "B", "A", "A", "A"]
    whole = plan(sheet(bars=20)).bars
    assert [index for index, one in enumerate(whole) if one.fill] == [FILL_EVERY - 1, 2 * FILL_EVERY - 1]


def test_equal_sections_have_equal_grooves():
    bars = plan(sheet(bars=12, sections="A4 B4 A4")).bars
    assert [pattern(p, p.kick) for p in bars[:3]] == [pattern(p, p.kick) for p in bars[8:11]]


def test_swing_is_the_words_else_the_songs_and_evens_out_with_speed():
    assert plan(sheet(swing=0.64)).swing == 0.64
    assert plan(sheet(swing=0.64), Style(feel=Feel.STRAIGHT)).swing == 0.5
    fast, slow = (plan(sheet(bpm=bpm), Style(feel=Feel.SWING)).swing for bpm in (240, 100))
    assert 0.5 < fast < slow < 0.67
    groove = plan(sheet(), Style(feel=Feel.SWING))
    assert groove.swung(4.0) == 4.0
    assert groove.swung(4.5) == pytest.approx(4.0 + groove.swing, abs=1e-3)
    assert plan(sheet(meter="6/8"), Style(feel=Feel.SWING)).swung(4.5) == 4.5


def test_a_late_second_eighth_of_a_swung_song_is_its_second_eighth():
    of = sheet(swing=0.66, accents=("x......xx.......", "....x.......x...", "."))
    groove = plan(of)
    assert pattern(groove.bars[0], groove.bars[0].kick) == "x.....x.x......."
    assert groove.swung(groove.bars[0].kick[1]) == pytest.approx(1.66, abs=1e-3)


@pytest.mark.parametrize(
    ("meter", "felt", "kinds"),
    [
        ("4/4", (0, 1, 2, 3), [4]),
        ("3/4", (0, 1, 2), [3]),
        ("6/8", (0, 1.5), [2]),
        ("12/8", (0, 1.5, 3, 4.5), [4]),
        ("5/4", (0, 1, 2, 3, 4), [3, 2]),
        ("7/8", (0, 1, 2, 3), [4]),
        ("5/8", (0, 1.5), [1, 1]),
        ("2/2", (0, 1, 2, 3), [4]),
    ],
)
def test_meters_are_felt_in_pulses(meter, felt, kinds):
    bar = sheet(meter=meter, bars=1).bars[0]
    assert pulses(bar) == felt
    assert [cell.pulses for cell in cells(bar)] == kinds


def test_a_bar_cut_short_keeps_its_beginning():
    of = sheet(meter="4/4*1.5 3/4*4", bars=3)
    short = plan(of, Style(beat=Beat.BACKBEAT)).bars[1]
    assert short.bar.beats == 2.0
    assert pattern(short, short.snare) == "....x..."


@settings(max_examples=50)
@given(sheets(), st.sampled_from([None, *Beat]), st.integers(0, 9), st.floats(-1, 1), st.floats(-1, 1))
def test_every_plan_stays_on_ticks_and_inside_its_bars(of, beat, seed, density, intensity):
    style = Style(beat=beat, density=density, intensity=intensity)
    groove = plan(of, style, seed)
    assert groove == plan(of, style, seed)
    assert 0.5 <= groove.swing <= 0.667
    assert len(groove.bars) == len(of.bars)
    for planned in groove.bars:
        bar = planned.bar
        assert 0 <= planned.energy <= 1
        assert planned.step > 0
        seconds = planned.step * 60 / of.tempo_map.bpm_at(of.tempo_map.time_at(bar.start + 1e-6))
        assert seconds > 0.1 or planned.step >= bar.beats
        for beats in (planned.kick, planned.snare):
            assert list(beats) == sorted(set(beats))
            assert all(on_tick(one) == one and bar.start - 1e-3 <= one < bar.end for one in beats)
        swung = [groove.swung(one) for one in np.arange(bar.start, bar.end, 0.125)]
        assert swung == sorted(swung)


def test_all_meters_have_a_kick_on_one_and_a_backbeat():
    for meter in METERS:
        for planned in plan(sheet(meter=meter, bars=9 if "*" in meter else 2)).bars:
            assert planned.kick[0] == planned.bar.start
            assert planned.snare
