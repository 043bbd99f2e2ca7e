"""A DAW's settings by their short names, and the seeds of a task's variations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import BadArgument
from protocol.float32 import Single
from protocol.task import (
    SETTINGS,
    Task,
    TaskProblems,
    draw_seed,
    final,
    parse_setting,
    seeds,
    task_from_settings,
    with_checkpoint,
    with_seed,
)


def test_settings_become_the_fields_they_stand_for() -> None:
    task = task_from_settings(
        {
            "prompt": "brushed drums",
            "negative": "cymbals",
            "language": "DE",
            "seed": 7.0,
            "steps": 50,
            "guidance": 7,
            "strength": 0.699999988079071,
            "variations": 3,
            "engine": "Sketch",
            "context_bars": 2.5,
            "format": "WAV24",
            "duration": 8.275,
            "cfg_start": 0.1,
            "bpm_hint": 120,
            "cover_scale": 0.5,
            "lyrics": "",
            "guidance_type": None,
            "quality": "Draft",
            "checkpoint": "xl-turbo",
            "min_score": 72.5,
            "rerolls": 8.0,
            "scheduler": '{"solver": "heun"}',
        }
    )
    assert (task.positive_prompt, task.negative_prompt, task.settings.vocal_language) == (
        "brushed drums",
        "cymbals",
        "de",
    )
    assert (task.seed, task.steps, task.cfg_scale, task.strength, task.number_results) == (7, 50, 7.0, 0.7, 3)
    assert (task.engine, task.context_bars, task.stem_format, task.duration) == ("sketch", 2.5, "wav24", 8.275)
    assert (task.settings.cfg_interval_start, task.settings.bpm, task.settings.lyrics) == (0.1, 120, None)
    assert task.settings.guidance_type == "apg"
    assert (task.quality, task.checkpoint) == ("draft", "xl-turbo")
    assert (task.min_score, task.rerolls) == (72.5, 8)
    assert task.advanced_features.modular_scheduler == {"solver": "heun"}


def test_problems_of_settings_come_all_at_once_under_the_names_that_were_used() -> None:
    with pytest.raises(TaskProblems) as refused:
        task_from_settings({"guidance": 99, "cfg_start": 0.9, "cfg_end": 0.1, "strenght": 0.4})
    assert [problem.field for problem in refused.value.problems] == [
        "CFGScale",
        "settings.cfgIntervalStart",
        "strenght",
    ]
    sentence = str(refused.value)
    assert "guidance is 99; it must be a number from 1 to 30" in sentence
    assert "cfg_start is 0.9; it must not lie after cfg_end (0.1)" in sentence
    assert "did you mean strength?" in sentence


def test_a_flood_of_unknown_settings_is_answered_briefly() -> None:
    with pytest.raises(TaskProblems) as refused:
        task_from_settings({f"strength{number}": 1 for number in range(5000)})
    assert len(refused.value.problems) == 21
    assert "4980 more" in refused.value.problems[-1].message


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("strength", 1.5, "strength is 1.5; it must be a number from 0 to 1 in steps of 0.01."),
        ("seed", "7", 'seed is "7"; it must be a whole number from 0 to 2147483647.'),
        ("variations", True, "variations is true; it must be a whole number from 1 to 4."),
        ("format", "mp3", 'format is "mp3"; it must be one of wav, wav24.'),
        ("context_bars", 65, "context_bars is 65; it must be a number from 0 to 64."),
        ("quality", "best", 'quality is "best"; it must be one of final, draft.'),
        ("min_score", 100.5, "min_score is 100.5; it must be a number from 0 to 100."),
        ("min_score", -1, "min_score is -1; it must be a number from 0 to 100."),
        ("rerolls", 9, "rerolls is 9; it must be a whole number from 0 to 8."),
        ("rerolls", 1.5, "rerolls is 1.5; it must be a whole number from 0 to 8."),
        ("checkpoint", "../x", 'checkpoint is "../x"; it must be a name of 1 to 64 letters, digits, '),
        ("guidence", 3, 'There is no setting "guidence": did you mean guidance?'),
        ("zzz", 3, 'There is no setting "zzz": the settings are prompt, negative, '),
    ],
)
def test_one_setting_is_checked_alone_with_its_range_named(name: str, value: object, said: str) -> None:
    with pytest.raises(BadArgument) as refused:
        parse_setting(name, value)
    assert str(refused.value).startswith(said)


def test_a_scheduler_that_is_no_json_is_refused_with_the_place_of_the_mistake() -> None:
    with pytest.raises(BadArgument, match=r"^scheduler is .* JSON object .*\. Its JSON breaks at line 1, column 12: "):
        parse_setting("scheduler", '{"solver": heun}')
    with pytest.raises(TaskProblems, match=r"scheduler is .* column 12"):
        task_from_settings({"scheduler": '{"solver": heun}'})


def test_every_setting_is_documented_and_its_default_is_allowed() -> None:
    named = "prompt negative lyrics language seed steps guidance strength variations engine context_bars format"
    assert set(named.split()) <= set(SETTINGS)
    assert len({spec.field for spec in SETTINGS.values()}) == len(SETTINGS)
    for name, spec in SETTINGS.items():
        assert spec.name == name
        assert spec.meaning
        assert spec.allowed
        assert spec.type in ("text", "number", "whole number", "choice", "object")
        if spec.default is not None:
            assert parse_setting(name, spec.default) == spec.default


# --- seeds ------------------------------------------------------------------------------------------------------------
def test_variations_count_seeds_up_from_the_base_and_wrap() -> None:
    assert seeds(Task(seed=7, number_results=3)) == (7, 8, 9)
    assert seeds(Task(seed=2**31 - 1, number_results=2)) == (2**31 - 1, 0)


def test_seeds_before_one_is_drawn_are_an_error() -> None:
    with pytest.raises(BadArgument, match="draw one"):
        seeds(Task())


def test_a_drawn_seed_comes_from_31_random_bits() -> None:
    assert draw_seed(lambda bits: 2**bits - 1) == 2**31 - 1
    assert 0 <= draw_seed() < 2**31


def test_with_seed_changes_the_seed_alone_and_refuses_impossible_ones() -> None:
    task = Task(positive_prompt="brushed drums")
    assert with_seed(task, 5).model_dump(exclude={"seed"}) == task.model_dump(exclude={"seed"})
    assert with_seed(task, 5).seed == 5
    for bad in (-1, 2**31, True):
        with pytest.raises(BadArgument, match="0 to 2147483647"):
            with_seed(task, bad)


def test_a_final_take_keeps_all_that_was_asked_but_quality_and_checkpoint() -> None:
    draft = Task(positive_prompt="brushed drums", steps=8, seed=3, quality="draft", checkpoint="xl-turbo")
    kept = final(draft)
    assert (kept.quality, kept.checkpoint) == ("final", None)
    apart = {"quality", "checkpoint"}
    assert kept.model_dump(exclude=apart) == draft.model_dump(exclude=apart)


def test_with_checkpoint_takes_names_and_refuses_paths() -> None:
    assert with_checkpoint(Task(), "xl-turbo").checkpoint == "xl-turbo"
    with pytest.raises(BadArgument, match="not a path"):
        with_checkpoint(Task(), "/etc/passwd")


def test_a_task_cannot_be_built_from_impossible_values_nor_changed() -> None:
    with pytest.raises(ValueError, match="steps"):
        Task(steps=301)
    with pytest.raises(ValueError, match="frozen"):
        Task().steps = 3  # type: ignore[misc]


@given(st.floats(0.0, 1.0, width=32))
def test_a_fader_goes_to_the_nearest_step_but_a_typed_number_must_be_on_one(place: float) -> None:
    assert parse_setting("strength", Single.of(place)) == pytest.approx(place, abs=0.0051)
    with pytest.raises(BadArgument):
        parse_setting("strength", 0.7323)
