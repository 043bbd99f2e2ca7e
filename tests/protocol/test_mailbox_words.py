"""Sentences for a REAPER user: no address to send, no job to retry, and names of files left as they are."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from bridge import atomic
from engine.audio_cache import unopenable
from engine.window import _REMEDY
from protocol.errors import EngineCrashed, MissingContext, RegionOutside, StembridgeError, UnknownJob
from protocol.job import Failure
from protocol.mailbox_words import for_reaper
from protocol.vocabulary import JobState, Verb
from tests.protocol.test_mailbox_answer import first
from tests.support.jobs import job

GONE = Path("/music/stembridge/sources/retry. Send it/source.wav")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            unopenable(GONE, FileNotFoundError()),
            f"The source file {GONE} does not exist. Put it back or reconnect its disk, then run the action again.",
        ),
        (
            atomic.in_words(FileNotFoundError(errno.ENOENT, "gone"), GONE),
            f"The folder {GONE} is no longer there: put it back or reconnect its disk, or open the project where it is "
            "now, then run the action again.",
        ),
        (
            RegionOutside(_REMEDY[Verb.REPAINT]),
            "Select a region inside it, use extend or prepend to go past its ends, then run the action again.",
        ),
        (
            MissingContext("There is no audio to repaint. Send /stembridge/source with the song's file."),
            "There is no audio to repaint. Select in REAPER what to work on, then run the action again.",
        ),
        (
            MissingContext("There is no region yet: send /stembridge/region START END (seconds) first."),
            "There is no region yet: run the action again.",
        ),
        (EngineCrashed("It died (9). Retry the job; if not, x."), "It died (9). Run the action again; if not, x."),
        (UnknownJob("/a/stembridge/source.wav, /stembridge/sources"), "/a/stembridge/source.wav, /stembridge/sources"),
    ],
)
def test_what_a_reaper_user_is_told_to_do_can_be_done_in_reaper(error: StembridgeError, said: str) -> None:
    assert for_reaper(Failure.of(error)) == Failure(code=error.code, sentence=said)


def test_refusals_and_failures_are_both_told_so() -> None:
    error = unopenable(GONE, FileNotFoundError())
    failed = job("a", state=JobState.FAILED).model_copy(update={"failure": Failure.of(error)})
    for answer in (first().refused(error), first().about(failed, 0)):
        assert answer.error == for_reaper(Failure.of(error))
