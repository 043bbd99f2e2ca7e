from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.sketch.arranger.effects import write_effects
from engine.sketch.lead_sheet import LeadSheet, SongSection
from engine.sketch.score import Effect, Instrument, Note
from engine.sketch.style import Style
from protocol.vocabulary import TrackClass
from tests.support.parts import assert_playable, odd_sheets, played, styles, written
from tests.support.sheets import sheet

INTO = (Effect.RISER, Effect.REVERSE_CYMBAL)


def of_kind(notes: tuple[Note, ...], *kinds: int) -> list[Note]:
    return [note for note in notes if note.pitch in kinds]


@settings(max_examples=50, deadline=None)
@given(odd_sheets(), styles(), st.integers(0, 999))
def test_on_any_sheet_effects_meet_bar_lines_and_stay_sparse(of: LeadSheet, style: Style, seed: int) -> None:
    part, _ = written(write_effects, of, style, seed)
    assert (part.track, part.instrument) == (TrackClass.FX, Instrument.EFFECTS)
    assert_playable(part, of)
    lines = [bar.start for bar in of.bars] + [of.bars[-1].end]

    def is_line(beat: float) -> bool:
        return min(abs(beat - line) for line in lines) < 0.002

    for note in part.notes:
        assert is_line(note.end if note.pitch in INTO else note.beat)
    assert len(part.notes) <= 3 * (len(of.sections) + 1) + len(of.bars) / 8


def test_a_louder_section_is_risen_into_and_struck() -> None:
    part, _ = played(write_effects, 0, sections="A4 B4", energy=(0.3,) * 4 + (0.9,) * 4)
    assert [note.end for note in of_kind(part.notes, Effect.RISER)] == [16.0]
    assert 16.0 in {note.beat for note in of_kind(part.notes, Effect.IMPACT)}


def test_a_quieter_section_is_fallen_into_and_not_struck() -> None:
    part, _ = played(write_effects, 0, sections="A4 B4", energy=(0.9,) * 4 + (0.3,) * 4)
    assert [note.beat for note in of_kind(part.notes, Effect.DOWNLIFTER)] == [16.0]
    assert 16.0 not in {note.beat for note in of_kind(part.notes, Effect.IMPACT)}
    assert not of_kind(part.notes, Effect.RISER)


def test_a_riser_lasts_about_four_seconds() -> None:
    for bpm in (60.0, 120.0, 180.0):
        part, of = played(write_effects, 0, bpm=bpm, sections="A4 B4", energy=(0.3,) * 4 + (0.9,) * 4)
        (riser,) = of_kind(part.notes, Effect.RISER)
        assert 2.5 <= riser.beats * 60.0 / bpm <= 6.5, bpm
        assert riser.beat >= of.start


def test_a_long_section_gets_a_soft_cymbal_every_eight_bars_only() -> None:
    part, _ = played(write_effects, 0, bars=20, sections="A18 B2", energy=(0.5,) * 20)
    soft = [note for note in of_kind(part.notes, Effect.REVERSE_CYMBAL) if note.end < 70]
    assert [note.end for note in soft] == [32.0, 64.0]
    assert max(note.velocity for note in soft) < 70
    assert not [note for note in part.notes if note.pitch not in INTO and 0 < note.beat < 72]


def test_a_region_inside_a_section_is_not_struck_as_if_one_began() -> None:
    plain = sheet(bars=4, first_bar=5)
    inside = (SongSection(0.0, plain.end, "A"),)
    of = LeadSheet(plain.tempo_map, plain.key, plain.start, plain.end, plain.chords, inside, plain.energy)
    part, groove = written(write_effects, of)
    assert not groove.bars[0].opens
    alike = sheet(bars=4, first_bar=5)
    assert of_kind(written(write_effects, alike)[0].notes, Effect.IMPACT)
    assert not of_kind(part.notes, Effect.IMPACT, Effect.SUB_DROP)
    assert part.notes


def test_seeds_may_differ_and_the_same_seed_does_not() -> None:
    form = {"bars": 12, "sections": "A4 B4 C4", "energy": (0.5,) * 12}
    assert played(write_effects, 1, **form)[0] == played(write_effects, 1, **form)[0]
    assert len({tuple(note.pitch for note in played(write_effects, seed, **form)[0].notes) for seed in range(12)}) > 1
