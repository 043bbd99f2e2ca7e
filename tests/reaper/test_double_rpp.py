"""The double's .RPP: two parsers read the same, numbers and names survive, equal text means an equal project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.reascript import rpp_reading
from tests.support.reascript.model import Fx, Item, Marker, Project, Source, Take, TempoMarker, Track
from tests.support.reascript.projects import folder_project, midi_project, song_project
from tests.support.reascript.rpp import dump, number
from tests.support.reascript.rpp_reading import read

HARD_NAMES = [
    "",
    "Gesänge ü 歌",
    'say "calm"',
    "it's",
    "both \"and' here",
    "007",
    "1e5",
    "nan",
    "<b>",
    "|x",
    "# no",
    "{a}",
]


def small(name: str = "Guitar", position_s: float = 1.5) -> Project:
    """A saved project in no folder: one track with an item of two takes, the second active."""
    song = Project(path=Path("/songs/Lied/Lied.rpp"))
    takes = [
        Take(Source(Path(f"/songs/Lied/Media/{n}.wav"), frames=44100, rate=44100), name=f"take {n}") for n in (1, 2)
    ]
    item = Item(takes, active=1)
    item.values.update(D_POSITION=position_s, D_LENGTH=2.25, B_LOOPSRC=0.0, D_VOL=0.5)
    takes[1].values.update(D_STARTOFFS=0.125, D_VOL=2.0)
    song.tracks.append(Track(name, [item]))
    return song


def test_items_and_takes_are_read_as_they_are() -> None:
    song = small()
    (item,) = read(dump(song)).track("Guitar").items
    assert (item.position_s, item.length_s, item.end_s, item.volume) == (1.5, 2.25, 3.75, 0.5)
    assert (item.loops, item.is_muted, item.timebase, item.active) == (False, False, -1, 1)
    assert (item.fade_in_s, item.fade_out_s, item.auto_fade_in_s, item.auto_fade_out_s) == (0.01, 0.01, -1, -1)
    assert [(take.name, take.file, take.offset_s, take.volume) for take in item.takes] == [
        ("take 1", "Media/1.wav", 0.0, 1.0),
        ("take 2", "Media/2.wav", 0.125, 2.0),
    ]
    assert item.takes[0].guid == song.tracks[0].items[0].takes[0].guid


def test_a_file_outside_the_projects_folder_and_all_files_of_an_unsaved_project_have_full_paths() -> None:
    song = small()
    item = song.tracks[0].items[0]
    assert item.takes[0].source is not None
    item.takes[0].source.path = Path("/elsewhere/ä b.wav")
    assert read(dump(song)).tracks[0].items[0].takes[0].file == "/elsewhere/ä b.wav"
    song.path = None
    assert read(dump(song)).tracks[0].items[0].takes[1].file == "/songs/Lied/Media/2.wav"


@pytest.mark.parametrize("name", HARD_NAMES)
def test_a_name_survives_whatever_it_looks_like(name: str) -> None:
    song = small(name)
    song.tracks[0].items[0].takes[1].name = name
    song.markers.append(Marker(3, True, 4.0, 8.0, name))
    seen = read(dump(song))
    assert seen.tracks[0].name == name
    assert seen.tracks[0].items[0].takes[1].name == name
    assert seen.regions == ((3, 4.0, 8.0, name),)


def test_a_name_with_every_kind_of_quote_loses_its_backticks_only() -> None:
    assert read(dump(small("a`b'c\"d"))).tracks[0].name == "a'b'c\"d"


def test_a_line_break_in_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="line break"):
        dump(small("two\nlines"))


@given(name=st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="`"), max_size=20))
def test_any_name_is_read_the_same_by_both_parsers(name: str) -> None:
    assert read(dump(small(name))).tracks[0].name == name


@given(frame=st.integers(0, 2**31), rate=st.sampled_from([44100, 48000, 88200, 96000]))
def test_a_position_keeps_every_bit(frame: int, rate: int) -> None:
    seen = read(dump(small(position_s=frame / rate)))
    assert seen.tracks[0].items[0].position_s == frame / rate


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_written_with_all_its_digits_and_without_an_exponent(value: float) -> None:
    assert float(number(value)) == value
    assert "e" not in number(value).lower()


def test_tempo_markers_selection_and_regions_are_read_with_their_signatures() -> None:
    song = small()
    song.tempo = [TempoMarker(0.0, 120.0, 4, 4), TempoMarker(16.0, 97.5, linear=True), TempoMarker(20.25, 60.0, 6, 8)]
    song.time_selection = (16.0, 25.846153846153847)
    song.markers = [Marker(1, False, 2.0, 0.0, "in"), Marker(1, True, 16.0, 20.0, "key=Am")]
    seen = read(dump(song))
    assert seen.points == (
        (0.0, 120.0, 4, 4, False),
        (16.0, 97.5, 0, 0, True),
        (20.25, 60.0, 6, 8, False),
    )
    assert seen.time_selection == song.time_selection
    assert seen.markers == ((1, 2.0, "in"),)
    assert seen.regions == ((1, 16.0, 20.0, "key=Am"),)
    assert (seen.rate, seen.tempo) == (44100, (120.0, 4, 4))


def test_extension_data_of_project_track_item_and_take_is_read_back() -> None:
    song = small()
    track = song.tracks[0]
    recipe = '{"prompt":"it\'s \\"calm\\"","seed":7}'
    track.ext["stembridge"], track.items[0].ext["stembridge"] = "on the track", "on the item"
    track.items[0].takes[1].ext["stembridge"] = '{"seed":7}'
    song.ext_state = {"Stembridge": {"key": "Am", "prompt": "calm, slow"}, "Empty": {}}
    seen = read(dump(song))
    assert seen.tracks[0].ext == {"stembridge": "on the track"}
    assert seen.tracks[0].items[0].ext == {"stembridge": "on the item"}
    assert seen.tracks[0].items[0].takes[1].ext == {"stembridge": '{"seed":7}'}
    assert seen.ext_state == {"Stembridge": {"key": "Am", "prompt": "calm, slow"}}
    track.ext["stembridge"] = recipe
    assert read(dump(song)).tracks[0].ext == {"stembridge": recipe}


def test_a_folder_its_children_and_midi_are_read(tmp_path: Path) -> None:
    seen = read(dump(folder_project(tmp_path / "folder")))
    assert [(track.name, track.depth) for track in seen.tracks] == [
        ("Band", 1),
        ("Drums", 0),
        ("Bass", -1),
        ("Voice", 0),
    ]
    midi = read(dump(midi_project(tmp_path / "midi")))
    assert midi.track("Synth").items[0].takes[0].file is None
    assert len(list(midi.root.blocks("TRACK"))) == 2


def test_items_without_a_take_and_takes_without_a_source_are_read() -> None:
    song = small()
    song.tracks[0].items += [Item(), Item([Take()])]
    _, bare, empty = read(dump(song)).tracks[0].items
    assert bare.takes == ()
    assert [take.file for take in empty.takes] == [None]


def test_a_saved_project_is_read_from_its_file(tmp_path: Path) -> None:
    song = song_project(tmp_path / "Gesänge ü", name="Lied 1", tempo="change")
    assert song.path is not None
    seen = read(song.path)
    file = seen.tracks[0].items[0].takes[0].file
    assert file == "Media/Guitar-1.wav"
    assert (song.path.parent / file).is_file()


def test_the_same_state_gives_the_same_text_and_any_change_another_one() -> None:
    song = small()
    track, item = song.tracks[0], song.tracks[0].items[0]
    track.fx.append(Fx("VST: ReaComp (Cockos)"))
    song.tempo.append(TempoMarker(0.0, 120.0, 4, 4))
    before = dump(song)
    assert dump(song) == before
    records: list[Any] = [song, song.master, track, item, item.takes[1]]
    for record in records:
        for values in (record.values, getattr(record, "strings", {})):
            for name, value in list(values.items()):
                values[name] = f"{value}?" if isinstance(value, str) else value + 0.5
                assert dump(song) != before, f"{name} of {type(record).__name__} is not in the text"
                values[name] = value
    assert dump(song) == before
    changes: tuple[Callable[[], Any], ...] = (
        lambda: setattr(track.fx[0], "enabled", False),
        lambda: setattr(track, "envelopes", 1),
        lambda: setattr(song.tempo[0], "linear", True),
        lambda: setattr(item, "active", 0),
        lambda: track.strings.update(P_RAZOREDITS='1 2 ""'),
        lambda: song.tracks.append(Track("new")),
    )
    for change in changes:
        last = dump(song)
        change()
        assert dump(song) != last
        read(dump(song))


def test_two_parsers_that_see_different_things_are_told_apart() -> None:
    one = rpp_reading.by_reaproj(dump(small("Guitar")))
    other = rpp_reading.by_rppxml(dump(small("Bass")))
    with pytest.raises(AssertionError, match="REAPER_PROJECT<TRACK"):
        rpp_reading.assert_same(one, other)
