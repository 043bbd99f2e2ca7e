"""The bassist: roots on changes, locked to the kick, in range, one note at a time, nearly always in chord or key."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.sketch.arranger.bass import HIGHEST, LOWEST, write_bass
from engine.sketch.arranger.groove import plan_groove
from engine.sketch.score import Instrument, on_tick
from engine.sketch.style import Beat, Feel, Style, parse_style
from tests.support.sheets import notes_between, sheet, sheets

POP, JAZZ = "Am F C G", "Dm7 G7 Cmaj7 A7 Dm7 G7 Cmaj7 Cmaj7"


def chance(seed):
    return np.random.Generator(np.random.PCG64(seed))


def play(of, style=None, seed=1):
    style = style or Style()
    groove = plan_groove(of, style, chance(seed))
    return write_bass(of, style, groove, chance(seed + 1)), groove


STYLES = st.builds(
    Style,
    beat=st.sampled_from([None, *Beat]),
    feel=st.sampled_from([None, *Feel]),
    density=st.floats(-1, 1),
    intensity=st.floats(-1, 1),
    legato=st.none() | st.booleans(),
)


@settings(max_examples=50)
@given(sheets(), STYLES, st.integers(0, 99))
def test_every_part_is_one_line_on_the_page_with_roots_on_all_changes(of, style, seed):
    part, groove = play(of, style, seed)
    assert part == play(of, style, seed)[0]
    heard = any(span.chord for span in of.chords)
    for note in part.notes:
        assert LOWEST <= note.pitch <= HIGHEST
        assert 1 <= note.velocity <= 127
        assert on_tick(note.beat) == note.beat
        assert on_tick(note.beats) == note.beats > 0
        assert of.bars[0].start - 1e-3 <= note.written < groove.bars[-1].bar.end
        assert not heard or of.chord_at(note.written + 1e-3) is not None
    assert all(before.end <= after.beat + 1e-9 for before, after in pairwise(part.notes))
    written = {note.written: note for note in part.notes}
    assert len(written) == len(part.notes)
    for span in of.chords:
        if span.chord is not None:
            note = written[groove.swung(on_tick(span.start))]
            assert note.pitch % 12 == span.chord.root


def test_no_chord_is_a_rest_and_no_chords_at_all_are_the_tonic():
    part, _ = play(sheet("Am - F -", bars=4), Style(beat=Beat.BACKBEAT))
    assert not notes_between(part, 4, 8)
    assert all(note.end <= 4.01 for note in notes_between(part, 0, 4))
    tonic, _ = play(sheet("-", key="Eb minor"), Style(beat=Beat.BACKBEAT))
    assert tonic.notes[0].pitch % 12 == 3
    assert {note.pitch % 12 for note in tonic.notes} <= {3, 10}


@pytest.mark.parametrize("beat", [Beat.BACKBEAT, Beat.BREAKBEAT, Beat.HALF_TIME, Beat.FOUR_ON_THE_FLOOR, Beat.TRAIN])
def test_the_line_is_locked_to_the_kick(beat):
    for seed in range(5):
        part, groove = play(sheet(bars=8, sections="A4 B4", bpm=110), Style(beat=beat), seed)
        written = {note.written for note in part.notes}
        kicks = [groove.swung(kick) for planned in groove.bars for kick in planned.kick]
        assert np.mean([kick in written for kick in kicks]) > 0.95


def test_a_song_decides_where_the_bass_plays():
    low = "x..x..x...x....."
    part, _ = play(sheet(accents=(low, "....x.......x...", "x."), bars=4))
    places = {round(note.written * 4) % 16 for note in part.notes}
    assert {0, 3, 6, 10} <= places
    assert len(places - {0, 3, 6, 10}) <= 1  # the approach


_SHARES = [
    (chords, key, words)
    for chords, key in [(POP, "A minor"), (JAZZ, "C major"), ("Bdim E7 Am Am", "A minor"), ("Eb Bb Cm Ab", "Eb major")]
    for words in ("rock", "jazz", "funk", "disco", "country", "waltz", "bossa nova", "reggae", "ballad", "busy funk")
]


def test_more_than_97_percent_of_the_notes_are_in_chord_or_scale():
    shares = {}
    for chords, key, words in _SHARES:
        of = sheet(chords, bars=32, key=key, sections="A8 B8 A8 B8")
        inside, strong, total = 0, True, 0
        for seed in range(3):
            for note in play(of, parse_style(words), seed)[0].notes:
                chord = of.chord_at(note.written + 1e-3)
                fits = note.pitch % 12 in {*chord.pitch_classes, *of.key.scale}
                inside, total = inside + fits, total + 1
                strong = strong and (fits or note.written not in {bar.start for bar in of.bars})
        assert strong
        shares[chords, words] = inside / total
    assert min(shares.values()) > 0.97, min(shares, key=shares.get)
    assert np.mean(list(shares.values())) > 0.99


def test_a_walking_bass_walks():
    of = sheet(JAZZ, bars=32, key="C major", bpm=150)
    part, _ = play(of, parse_style("jazz"))
    assert part.instrument is Instrument.UPRIGHT_BASS
    assert len(part.notes) == 4 * 32
    steps = np.abs(np.diff([note.pitch for note in part.notes]))
    assert np.mean(steps == 0) < 0.03
    assert np.mean(steps <= 5) > 0.85
    assert steps.max() <= 12
    into = [steps[index - 1] for index, note in enumerate(part.notes) if index and note.written % 4 == 0]
    assert np.mean(np.array(into) <= 2) > 0.6
    assert np.ptp([note.pitch for note in part.notes]) >= 12


def test_country_alternates_root_and_fifth():
    part, _ = play(sheet("C C F F", key="C major"), parse_style("country"))
    degrees = [
        (note.pitch - sheet("C C F F", key="C major").chord_at(note.written).root) % 12
        for note in part.notes
        if note.written % 2 == 0
    ]
    assert set(degrees) == {0, 7}


def test_disco_jumps_octaves_on_the_off_beats():
    part, _ = play(sheet(POP), parse_style("disco"))
    ups = [b.pitch - a.pitch for a, b in pairwise(part.notes) if b.written % 1]
    assert set(ups) == {12}


def test_ballads_hold_and_staccato_does_not():
    held, _ = play(sheet(POP, bpm=70), parse_style("soft ballad"))
    assert np.median([note.beats for note in held.notes]) > 1.4
    short, _ = play(sheet(POP), parse_style("staccato rock"))
    assert max(note.beats for note in short.notes) <= 0.52


def test_approaches_lead_by_step_into_the_next_root_from_weak_places():
    led = total = 0
    for seed in range(20):
        of = sheet(POP, bars=16)
        part, groove = play(of, Style(beat=Beat.BACKBEAT, density=0.3), seed)
        kicks = {kick for planned in groove.bars for kick in planned.kick}
        for before, after in pairwise(part.notes):
            if before.written in kicks or before.written % 4 == 0:
                continue
            total += 1
            led += 1 <= abs(after.pitch - before.pitch) <= 2
            assert before.written % 1
    assert total > 20
    assert led / total > 0.9


def test_the_instrument_is_the_styles():
    for words, instrument in [
        ("upright bass", Instrument.UPRIGHT_BASS),
        ("techno", Instrument.SYNTH_BASS),
        ("hard rock", Instrument.PICK_BASS),
        ("", Instrument.FINGER_BASS),
    ]:
        assert play(sheet(), parse_style(words))[0].instrument is instrument
    style = Style(beat=Beat.SWING_RIDE, without=frozenset({Instrument.UPRIGHT_BASS}))
    assert play(sheet(), style)[0].instrument is Instrument.FINGER_BASS


def test_dynamics_follow_the_song_and_seeds_differ():
    part, _ = play(sheet(bars=8, energy=[0.1] * 4 + [0.9] * 4))
    quiet, loud = (np.mean([n.velocity for n in notes_between(part, start, start + 16)]) for start in (0, 16))
    assert quiet < loud - 20
    shapes = {tuple((n.written, n.pitch) for n in play(sheet(bars=8), seed=seed)[0].notes) for seed in range(4)}
    assert len(shapes) >= 3
