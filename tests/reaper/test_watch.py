"""The watcher: every state a job can be in is one row with a sentence, nothing is lost, and it ends by itself.

The daemon is played by the test (the real one has its end-to-end tests). Time is the test's: nothing waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.watching import WATCHER, Stage

START = '"/opt/stembridge/bin/stembridge" serve'
ESCAPE = 27


@pytest.fixture(params=["5.3", "5.4"])
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    stage = Stage(tmp_path, request.param)
    yield stage
    stage.reaper.check()


def test_a_job_is_followed_from_the_queue_to_the_takes_and_then_all_is_gone(stage: Stage) -> None:
    stage.post()
    stage.wait(0.2)
    assert stage.window.shows("Repaint bars 9-12")
    assert stage.window.shows("Waiting for Stembridge")
    request = stage.daemon.take()
    stage.wait(0.2)
    assert stage.is_watching
    stage.answer(request, "queued", position=3)
    assert stage.window.shows("Waiting, 2 before it")
    stage.answer(request, "running", stage="sampling", fraction=0.41, seconds_left=12.2)
    assert stage.window.shows("Sampling, about 12 s left")
    stage.answer(request, "running", stage="sampling", fraction=0.99, seconds_left=0.4)
    assert stage.window.shows("Sampling, almost done")
    stage.answer(request, "running", stage="", fraction=0.5, seconds_left=200)
    assert stage.window.shows("Working, about 3 min left")
    stage.answer(request, "done")
    assert stage.window.shows("Placed on Guitar.")
    assert stage.placed == [request["id"]]
    assert stage.daemon.unclaimed() == []
    stage.wait(4.2)
    assert (stage.reaper.running, stage.reaper.windows) == ([], [])
    assert stage.reaper.executed == []


def test_the_bar_shows_the_fraction(stage: Stage) -> None:
    request = stage.taken()
    stage.answer(request, "running", fraction=0.25)
    widths = {height: width for _, _, width, height in stage.window.rects if height == 6}
    assert widths[6] == pytest.approx(0.25 * (stage.window.variables["w"] - 24), abs=1)


def test_the_window_takes_no_focus_not_even_when_it_is_clicked(stage: Stage) -> None:
    stage.reaper.context = 0
    stage.taken()
    assert stage.reaper.focus == "tracks"
    stage.reaper.focus = "gfx"
    stage.window.click("Cancel")
    assert stage.reaper.focus == "tracks"


def test_two_jobs_are_two_rows_in_one_window_and_one_is_placed_per_reading(stage: Stage) -> None:
    first, second = stage.taken(), stage.taken()
    assert stage.window.strings.count("Repaint bars 9-12") == 2
    stage.daemon.answer(first, "done")
    stage.daemon.answer(second, "done")
    stage.reaper.pump(4)
    assert len(stage.placed) == 1
    stage.wait(0.3)
    assert sorted(stage.placed) == sorted([first["id"], second["id"]])


def test_answers_are_read_ten_times_a_second_and_no_more(stage: Stage) -> None:
    stage.taken()
    stage.reaper.calls.clear()
    stage.reaper.pump(1, 0.2)
    one_reading = stage.reaper.calls.count("EnumerateFiles")
    assert one_reading > 0
    stage.reaper.calls.clear()
    stage.wait(2)
    assert 10 * one_reading <= stage.reaper.calls.count("EnumerateFiles") <= 20 * one_reading


def test_nothing_is_drawn_while_nothing_changes(stage: Stage) -> None:
    stage.taken()
    drawn = stage.window.drawn
    stage.reaper.pump(10)
    assert stage.window.drawn is drawn


def test_a_request_that_nobody_takes_starts_the_daemon_once(stage: Stage) -> None:
    stage.daemon.install(START)
    stage.post()
    stage.wait(1.4)
    assert stage.reaper.executed == []
    stage.wait(0.4)
    assert list(map(str, stage.reaper.executed)) == [START]
    assert "Stembridge is being started." in stage.text
    stage.wait(5)
    assert len(stage.reaper.executed) == 1
    request = stage.daemon.take()
    stage.answer(request, "running", stage="sampling")
    assert "being started" not in stage.text
    stage.answer(request, "done")
    assert stage.placed == [request["id"]]


def test_after_half_a_minute_the_request_is_taken_back_and_the_user_told_how_to_start(stage: Stage) -> None:
    stage.post()
    stage.wait(2)
    assert "stembridge reaper install" in stage.text
    stage.sleep(30)
    assert "Nobody took this request for 30 s" in stage.text
    assert "stembridge serve" in stage.text
    assert stage.daemon.requests() == []
    stage.sleep(60)
    assert stage.is_watching
    stage.window.click("Close")
    assert not stage.is_watching


def test_a_daemon_that_died_midway_is_started_again_and_its_job_goes_on(stage: Stage) -> None:
    stage.daemon.install(START)
    request = stage.taken()
    stage.answer(request, "running", stage="sampling", fraction=0.5)
    stage.sleep(19)
    assert stage.reaper.executed == []
    stage.sleep(2)
    assert list(map(str, stage.reaper.executed)) == [START]
    assert "It is being started again and goes on where it was." in stage.text
    stage.answer(request, "running", stage="sampling", fraction=0.1)
    assert "being started again" not in stage.text
    stage.answer(request, "done")
    assert stage.placed == [request["id"]]


def test_ten_minutes_without_a_sign_are_told_and_the_takes_still_come(stage: Stage) -> None:
    stage.daemon.install(START)
    request = stage.taken()
    for _ in range(31):
        stage.sleep(20)
    assert "No sign of Stembridge for 10 minutes." in stage.text
    assert 2 <= len(stage.reaper.executed) <= 6
    assert stage.is_watching
    stage.answer(request, "done")
    assert stage.placed == [request["id"]]


def test_a_job_that_was_taken_and_never_answered_is_watched_too(stage: Stage) -> None:
    stage.daemon.install(START)
    stage.post()
    stage.daemon.take()
    stage.sleep(25)
    assert list(map(str, stage.reaper.executed)) == [START]


@pytest.mark.parametrize("state", ["failed", "refused", "cancelled"])
def test_a_job_that_ended_without_takes_says_why_until_it_is_read(stage: Stage, state: str) -> None:
    request = stage.taken()
    stage.answer(request, state, error={"code": "no", "sentence": "The GPU ran out of memory. Select fewer bars."})
    stage.sleep(100)
    assert "The GPU ran out of memory. Select fewer bars." in stage.text
    assert stage.placed == []
    stage.window.click("Close")
    assert (stage.reaper.running, stage.daemon.unclaimed()) == ([], [])


def test_warnings_are_shown_and_stay(stage: Stage) -> None:
    request = stage.taken()
    stage.answer(request, "running", warnings=["REAPER says bar 9, the tempo map says bar 10."])
    assert "REAPER says bar 9, the tempo map says bar 10." in stage.text
    stage.answer(request, "done", warnings=["REAPER says bar 9, the tempo map says bar 10."])
    stage.sleep(20)
    assert "Placed on Guitar. REAPER says bar 9, the tempo map says bar 10." in stage.text


def test_cancel_of_a_running_job_posts_a_cancel_and_follows_it(stage: Stage) -> None:
    request = stage.taken()
    stage.window.click("Cancel")
    stage.wait(0.1)
    assert stage.window.shows("Cancelling...")
    assert "Cancel" not in stage.window.strings
    cancel = stage.daemon.take()
    assert (cancel["kind"], cancel["job"], cancel["instance"]) == ("cancel", request["id"], request["instance"])
    stage.daemon.answer(cancel, "done")
    stage.answer(request, "cancelled")
    assert stage.window.shows("This job was cancelled.")
    stage.wait(4.2)
    assert (stage.reaper.running, stage.daemon.unclaimed()) == ([], [])


def test_cancel_of_a_request_that_nobody_took_takes_it_back(stage: Stage) -> None:
    stage.post()
    stage.wait(0.2)
    stage.window.click("Cancel")
    assert stage.daemon.requests() == []
    assert stage.window.shows("Taken back before it began.")


def test_the_newer_side_of_a_mismatch_is_told_apart_and_the_answer_stays(stage: Stage) -> None:
    request = stage.taken()
    stage.answer(request, "done", protocol=2, version="0.9.0")
    assert "Stembridge 0.9.0 speaks version 2 of the mailbox, these scripts (0.1.0) version 1." in stage.text
    assert "stembridge reaper install" in stage.text
    assert stage.placed == []
    assert stage.daemon.unclaimed() == [f"{request['id']}.json"]
    older = stage.taken()
    stage.window.click("Close")
    stage.wait(0.3)
    assert "0.9.0" not in stage.text
    stage.answer(older, "running", protocol=0)
    assert "pip install --upgrade stembridge" in stage.text


@pytest.mark.parametrize(("how", "why"), [("refuse", "The track was deleted"), ("error", "made of glass")])
def test_takes_that_cannot_be_placed_are_kept_and_can_be_placed_later(stage: Stage, how: str, why: str) -> None:
    request = stage.taken()
    stage.let_place(how)
    stage.answer(request, "done", folder="/songs/stembridge/20261123")
    assert why in stage.text
    assert stage.text.lower().count("the takes are in /songs/stembridge/20261123") == 1
    assert str(stage.root) not in stage.text
    assert stage.daemon.unclaimed() == [f"{request['id']}.claimed.json"]
    stage.let_place("")
    stage.window.click("Try again")
    stage.wait(0.2)
    assert stage.window.shows("Placed on Guitar.")
    assert stage.daemon.unclaimed() == []


def test_what_changed_until_the_takes_were_placed_is_told_until_it_is_read(stage: Stage) -> None:
    request = stage.taken()
    stage.let_place("important")
    stage.answer(request, "done")
    stage.wait(60)
    assert stage.window.shows("Placed on Guitar.")
    assert stage.daemon.unclaimed() == []
    stage.window.click("Close")
    stage.wait(0.2)
    assert stage.reaper.running == []


def test_nothing_is_placed_while_recording(stage: Stage) -> None:
    request = stage.taken()
    stage.reaper.active.playing = 5
    stage.answer(request, "done")
    assert "The takes are placed when the recording stops." in stage.text
    assert stage.placed == []
    stage.reaper.active.playing = 0
    stage.wait(0.2)
    assert stage.placed == [request["id"]]


def test_live_takes_are_placed_into_a_recording(stage: Stage) -> None:
    request = stage.taken()
    stage.reaper.active.playing = 5
    stage.answer(request, "done", origin=request["origin"] | {"live": {"from": 1}})
    assert stage.placed == [request["id"]]


def test_after_the_machine_slept_a_dead_daemon_is_started_again(stage: Stage) -> None:
    stage.daemon.install(START)
    stage.taken()
    stage.reaper.pump(1, 3600)
    assert list(map(str, stage.reaper.executed)) == [START]


def test_a_long_title_leaves_room_for_the_buttons(stage: Stage) -> None:
    stage.post()
    (file,) = (stage.daemon.folder / "requests").iterdir()
    file.write_text(file.read_text().replace("bars 9-12", "Ü" * 200))
    stage.reaper.run(stage.root / WATCHER)
    stage.wait(0.1)
    (title,) = [drawn for drawn in stage.window.drawn if drawn.string.startswith("Repaint")]
    assert title.string.endswith("Ü...")
    assert title.x + title.width <= stage.window.find("Cancel").x


@pytest.mark.parametrize("by", ["escape", "button"])
def test_closing_the_window_ends_the_watcher_and_no_job_and_the_doorbell_brings_it_back(stage: Stage, by: str) -> None:
    request = stage.taken()
    if by == "escape":
        stage.window.press(ESCAPE)
    else:
        stage.window.close_by_user()
    stage.wait(0.2)
    assert (stage.reaper.running, stage.reaper.windows) == ([], [])
    stage.answer(request, "done")
    assert stage.placed == []
    stage.reaper.action(request["doorbell"])
    stage.wait(0.1)
    assert stage.placed == [request["id"]]


def test_the_window_stands_again_where_it_stood_on_a_screen_that_is_there(stage: Stage) -> None:
    stage.taken()
    stage.window.position = (5000.0, 70.0)
    stage.wait(1)
    stage.window.press(ESCAPE)
    stage.wait(0.1)
    assert stage.reaper.ext_state.get("Stembridge", "window") == "5000 70 440 190"
    stage.post()
    stage.wait(0.1)
    assert stage.window.position == (1920 - 440, 70)


@pytest.mark.parametrize("width_after_opening", [440.0, 880.0], ids=["sizes in pixels", "sizes in points"])
def test_on_a_fine_screen_the_text_and_the_window_are_twice_as_large(stage: Stage, width_after_opening: float) -> None:
    stage.post()
    stage.reaper.pump()
    stage.window.variables |= {"ext_retina": 2.0, "w": width_after_opening}
    stage.wait(0.2)
    assert stage.window.variables["w"] == 880
    assert stage.window.find("Cancel").height == 30
    stage.window.press(ESCAPE)
    stage.wait(0.1)
    assert stage.reaper.ext_state.get("Stembridge", "window").split()[2] == "440"


def test_a_second_request_finds_the_watcher_running(stage: Stage) -> None:
    stage.taken()
    watcher = stage.reaper.running[0]
    stage.taken()
    assert stage.reaper.running == [watcher]


def test_starting_the_watcher_again_restarts_it_and_loses_nothing(stage: Stage) -> None:
    request = stage.taken()
    stage.reaper.run(stage.root / WATCHER)
    stage.answer(request, "done")
    assert stage.is_watching
    assert stage.placed == [request["id"]]


def test_without_jobs_the_watcher_says_so_and_ends(stage: Stage) -> None:
    stage.reaper.run(stage.root / WATCHER)
    stage.reaper.pump()
    assert stage.window.shows("No jobs are open.")
    stage.wait(3)
    assert (stage.reaper.running, stage.reaper.windows) == ([], [])


def test_a_reaper_without_set_action_options_works_too(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "5.3", version="6.29/x64")
    request = stage.taken()
    stage.answer(request, "done")
    assert stage.placed == [request["id"]]
    stage.wait(4.2)
    assert stage.reaper.running == []


def test_where_reaper_cannot_register_the_watcher_the_action_itself_watches(stage: Stage) -> None:
    (stage.root / WATCHER).unlink()
    request = stage.taken()
    assert [script.path.name for script in stage.reaper.running] == ["Post.lua"]
    assert request["doorbell"] == ""
    stage.answer(request, "done")
    assert stage.placed == [request["id"]]


def test_takes_are_not_placed_twice_when_the_daemon_says_again_that_they_are_done(stage: Stage) -> None:
    request, other = stage.taken(), stage.taken()
    stage.answer(request, "done")
    stage.daemon.answer(request, "done")
    stage.sleep(5)
    assert stage.placed == [request["id"]]
    assert stage.daemon.unclaimed() == [f"{other['id']}.json"]
    stage.window.close_by_user()
    stage.daemon.answer(request, "done")
    stage.reaper.run(stage.root / WATCHER)
    stage.wait(0.2)
    assert stage.placed == [request["id"]]


def test_an_answer_written_again_while_it_waits_to_be_placed_does_not_matter(stage: Stage) -> None:
    request = stage.taken()
    stage.reaper.active.playing = 4
    stage.answer(request, "done")
    stage.answer(request, "done")
    stage.reaper.active.playing = 0
    stage.wait(1)
    assert stage.placed == [request["id"]]
    assert stage.daemon.unclaimed() == []


def test_what_the_daemon_has_not_yet_put_away_is_no_open_job(stage: Stage) -> None:
    request = stage.taken()
    taken = stage.daemon.folder / "taken" / f"{request['instance']}.{request['id']}.json"
    kept = taken.read_bytes()
    stage.answer(request, "done")
    taken.write_bytes(kept)
    stage.wait(4.5)
    assert stage.reaper.running == []
