"""What the project says about the song: kept as typed, checked while the dialog is open, understood by the daemon."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.errors import BadArgument
from protocol.key import Key
from protocol.reaper_osc import key_named_in
from protocol.task import parse_setting
from protocol.vocabulary import TrackClass
from tests.support.lua_modules import LUAS, SCRIPTS, action, ask
from tests.support.reascript.host import Reaper
from tests.support.reascript.model import Marker, Project

PROJECT = "local proj = reaper.EnumProjects(-1) "
FIELDS = ["key", "prompt", "negative_prompt", "variations", "seed", "strength", "source", "context", "bars"]
GOOD = ["F#m", "calmer, with brushes", "no, really no, drums", "2", "7", "0,25", "dry", "10", "8"]


@pytest.fixture
def reaper(reaper: Reaper) -> Reaper:
    reaper.open(Project())
    return reaper


@cache
def keys_module(lua: str = "5.4") -> Any:
    module = importlib.import_module("lupa.lua" + lua.replace(".", ""))
    return module.LuaRuntime().execute((SCRIPTS / "lib" / "keys.lua").read_text(encoding="ascii"))()


def edit(reaper: Reaper, *answers: list[str] | None) -> dict[str, str]:
    reaper.answers.user_inputs = list(answers)
    reaper.answers.boxes = [1] * (len(answers) - 1)
    reaper.run(action("Set song key and prompt"))
    reaper.pump()
    return {name: value for name, value in reaper.active.ext_state.get("stembridge", {}).items() if value}


def key_at(reaper: Reaper, time_s: float) -> str:
    (found,) = ask(reaper, f"{PROJECT} return app.song.key(proj, {time_s})")
    return str(found)


# --- the dialog -------------------------------------------------------------------------------------------------------
def test_what_was_typed_is_kept_in_the_project_commas_and_all(reaper: Reaper) -> None:
    assert edit(reaper, GOOD) == dict(zip(FIELDS, GOOD, strict=True))
    assert reaper.active.dirty
    assert reaper.undo_names() == []
    edit(reaper, None)
    assert reaper.inputs_shown[-1][2] == GOOD


def test_the_settings_of_the_request_are_the_daemons_and_within_its_limits(reaper: Reaper) -> None:
    edit(reaper, GOOD)
    found = ask(
        reaper,
        f"{PROJECT} return app.song.settings(proj), app.song.source_mode(proj), app.song.context_s(proj), "
        "app.song.bars(proj)",
    )
    settings = {"prompt": GOOD[1], "negative": GOOD[2], "variations": 2, "seed": 7, "strength": 0.25}
    assert found == [settings, "dry", 10, 8]
    assert isinstance(found[0]["seed"], int)
    for name, value in settings.items():
        assert parse_setting(name, value) == value


def test_a_project_without_settings_has_none_and_our_defaults(reaper: Reaper) -> None:
    assert ask(
        reaper,
        f"{PROJECT} return app.song.settings(proj), app.song.source_mode(proj), app.song.context_s(proj), "
        "app.song.bars(proj)",
    ) == [{}, "auto", 30, 4]


@pytest.mark.parametrize(
    ("field", "typed", "told"),
    [
        ("key", "F#n", "The key 'F#n' is not known"),
        ("prompt", "x", "The prompt must be 2 to 3000 characters long"),
        ("negative_prompt", "y" * 3001, "What is not wanted must be 2 to 3000 characters long"),
        ("variations", "5", "Takes per request: write a whole number from 1 to 4"),
        ("variations", "1.5", "Takes per request: write a whole number from 1 to 4"),
        ("seed", "-1", "Seed: write a whole number"),
        ("seed", "2147483648", "Seed: write a whole number"),
        ("strength", "1.01", "Keep to the source: write a number from 0 to 1"),
        ("strength", "close", "Keep to the source: write a number from 0 to 1"),
        ("source", "wet", "Hear tracks: write auto, fx"),
        ("context", "121", "Context: write the seconds"),
        ("bars", "0", "Bars: write how many bars"),
    ],
)
def test_a_wrong_value_is_told_and_asked_again_with_what_was_typed(
    reaper: Reaper, field: str, typed: str, told: str
) -> None:
    wrong = [typed if name == field else value for name, value in zip(FIELDS, GOOD, strict=True)]
    assert edit(reaper, wrong, GOOD) == dict(zip(FIELDS, GOOD, strict=True))
    (shown,) = reaper.shown
    assert shown.startswith(told)
    assert reaper.inputs_shown[1][2] == wrong


@pytest.mark.parametrize("prompt", ["don't rush", 'like "Blue', "quiet (at first", "1) drums", '\'90s "lo-fi" (soft)'])
def test_quotes_and_brackets_of_a_prompt_shift_no_field_and_come_back_as_they_were(reaper: Reaper, prompt: str) -> None:
    typed = [GOOD[0], prompt, *GOOD[2:]]
    edit(reaper, typed)
    edit(reaper, None)
    shown = reaper.inputs_shown[-1][2]
    assert [shown[0], *shown[2:]] == [GOOD[0], *GOOD[2:]]
    reaper.active.dirty = False
    assert edit(reaper, shown)["prompt"] == prompt
    assert not reaper.active.dirty


def test_texts_that_reaper_cut_off_are_not_taken(reaper: Reaper) -> None:
    body = """
    local typed, told = { "a long pro", "short" .. "\\n" .. "7" }, {}
    local asking = { GetUserInputs = function() return true, table.remove(typed, 1) end }
    local form = dofile(app.lib .. "form.lua")({ reaper = asking, tell = function(text) told[#told + 1] = text end })
    local fields = { { name = "prompt", caption = "Prompt" }, { name = "seed", caption = "Seed" } }
    return form.ask("Song", fields, function() end), told
    """
    values, told = ask(reaper, body)
    assert values == {"prompt": "short", "seed": "7"}
    assert told == ["The texts are too long for one dialog, and REAPER cut them off. Shorten the prompt."]


def test_cancel_changes_nothing(reaper: Reaper) -> None:
    assert edit(reaper, None) == {}
    assert not reaper.active.dirty


def test_emptied_fields_are_taken_back(reaper: Reaper) -> None:
    edit(reaper, GOOD)
    assert edit(reaper, [""] * len(FIELDS)) == {}


# --- the key ----------------------------------------------------------------------------------------------------------
def test_the_projects_key_comes_before_the_regions_and_without_either_the_engine_listens(reaper: Reaper) -> None:
    assert key_at(reaper, 10.0) == ""
    reaper.active.markers = [
        Marker(1, False, 10.0, 10.0, "key=Eb"),
        Marker(1, True, 0.0, 40.0, "Song key=Am"),
        Marker(2, True, 8.0, 16.0, 'Bridge KEY="Bb major" loud'),
        Marker(3, True, 20.0, 24.0, "Monkey=Cm"),
    ]
    assert [key_at(reaper, time_s) for time_s in (0.0, 8.0, 15.9, 16.0, 22.0, 40.0)] == [
        "Am", "Bb major", "Bb major", "Am", "Am", "",
    ]  # fmt: skip
    reaper.active.ext_state["stembridge"] = {"key": "F#m"}
    assert key_at(reaper, 10.0) == "F#m"


spellings = st.builds(
    "".join,
    st.tuples(
        st.sampled_from("ABCDEFGHabcdefgh"),
        st.sampled_from(["", " ", "-", "_", ":", ". "]),
        st.sampled_from(["", "#", "b", "♯", "♭", "♮", "sharp", "Flat", "is", "es", "s", "natural"]),
        st.sampled_from(["", " ", "-", ":"]),
        st.sampled_from(["", "m", "M", "min", "minor", "moll", "dur", "Major", "ionian", "aeolian", "x", "mi"]),
    ),
)


@example("Es")
@given(spellings | st.text(max_size=12) | st.from_regex(r"0?[0-9]{1,2} ?[ABab]", fullmatch=True))
def test_every_key_that_the_dialog_takes_the_daemon_understands_and_the_other_way_round(text: str) -> None:
    try:
        Key.parse(text)
        understood = True
    except BadArgument:
        understood = False
    taken = keys_module().known(text)
    if taken:
        assert understood
    elif text.isascii() and text == text.strip():
        assert not understood


NAMES = st.lists(
    st.sampled_from([
        "key", "KEY", "=", " = ", "Am", "F#m", "F#", "Bb", "h-moll", "8A", "?", " minor", " Major", " DUR", " minority",
        " ", ", ", ";", "(", ")", "|", "]", '"', "'", "_", "x", "ü", "♯", "🎸", "Chorus",
        " sharp", " flat", " natural", " aeolian", " dorian", "Es", "!", ">", "/",
    ])
).map("".join)  # fmt: skip


@pytest.mark.parametrize("lua", LUAS)
@given(name=NAMES)
@example(name="Chorus key=F# minor")
@example(name="key = Am")
@example(name="(key=Am)")
@example(name="key=? key=Am")
@example(name="monkey=Am")
@example(name="xkey=key=Am")
@example(name="key=F sharp minor")
@example(name="key=Es")
@example(name="key=C dorian")
@example(name="key=A harmonic minor")
@example(name="key=C locrian key=G")
@example(name="key=Bb minorü")
def test_the_actions_and_the_daemon_read_the_same_key_from_a_name(lua: str, name: str) -> None:
    told = keys_module(lua).token(name)
    assert (told and Key.parse(told)) == key_named_in(name)


# --- track classes and prompts ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("typed", "classes"),
    [
        ("drums, bass", ["drums", "bass"]),
        ("Backing Vocals;DRUM , piano", ["backing_vocals", "drums", "keyboard"]),
        ("guitars,guitar, String,synths", ["guitar", "strings", "synth"]),
        ("backing-vocals", ["backing_vocals"]),
        (", ".join(TrackClass), list(TrackClass)),
    ],
)
def test_track_classes_are_understood_as_people_write_them(reaper: Reaper, typed: str, classes: list[str]) -> None:
    assert ask(reaper, f'return app.song.track_classes("{typed}", 12)') == [classes]


def test_an_unknown_track_class_is_told_with_all_that_there_are(reaper: Reaper) -> None:
    reaper.answers.user_inputs, reaper.answers.boxes = [["drums, kazoo", ""], ["", ""], ["drums", "dry, close"]], [1, 1]
    assert ask(reaper, f"{PROJECT} return app.song.ask_tracks(proj, 'complete')") == [{"tracks": "drums"}, "dry, close"]
    assert reaper.shown[0].startswith("There is no track class 'kazoo'. Choose from: woodwinds, brass,")
    assert all(track in reaper.shown[0] for track in TrackClass)
    assert reaper.shown[1].startswith("Name a track class.")


def test_lego_and_extract_take_one_class_and_remember_it(reaper: Reaper) -> None:
    reaper.answers.user_inputs, reaper.answers.boxes = [["drums, bass"], ["bass"], None], [1]
    assert ask(reaper, f"{PROJECT} return app.song.ask_tracks(proj, 'lego')") == [{"track": "bass"}, None]
    assert reaper.shown[0].startswith("Name one track class only")
    assert ask(reaper, f"{PROJECT} return (app.song.ask_tracks(proj, 'lego'))") == [None]
    assert reaper.inputs_shown[-1][2] == ["bass"]


def test_the_last_prompt_stands_in_the_field_the_next_time(reaper: Reaper) -> None:
    reaper.active.ext_state["stembridge"] = {"prompt": "the song is slow"}
    reaper.answers.user_inputs = [["brushes, upright bass"], None]
    assert ask(reaper, f"{PROJECT} return app.song.ask_prompt(proj)") == ["brushes, upright bass"]
    assert ask(reaper, f"{PROJECT} return app.song.ask_prompt(proj)") == [None]
    assert [shown[2] for shown in reaper.inputs_shown] == [["the song is slow"], ["brushes, upright bass"]]
