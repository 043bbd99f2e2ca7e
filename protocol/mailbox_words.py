"""Sentences that were written for whoever sends OSC, put into the words of somebody who works in REAPER. Pure.

Engines and the queue do not know by which door a job came, and advise to send addresses or to retry; in REAPER there is
neither, only the action to run again.
"""

from __future__ import annotations

import re

from protocol.job import Failure
from protocol.vocabulary import Verb

_ADDRESS = rf"/stembridge/(?:project|source|region|tempo|jobs|{'|'.join(Verb)})\b(?![/\w])"
_SENDING = re.compile(
    rf"(?P<lead>^|[.] |: | and )[Ss]end {_ADDRESS}[^.]*|(?P<choice>, (?:or send|for example) ){_ADDRESS}[^.]*"
)
_RETRYING = re.compile(r"(?:(?<=then )|(?<=[.:] ))(?P<letter>[Rr])etry(?: the job| it)?(?=[.;]| if )")
_BACK = "Put it back or reconnect its disk, then run the action again"
_SELECT = "Select in REAPER what to work on, then run the action again"


def for_reaper(failure: Failure) -> Failure:
    """The same failure, its sentence saying what to do in REAPER."""

    def instead(match: re.Match[str]) -> str:
        if match["choice"]:
            return ", then run the action again"
        lead = match["lead"]
        if lead in (": ", " and "):
            return f"{lead}run the action again"
        return lead + (_BACK if failure.code == "source_missing" else _SELECT)

    sentence = _SENDING.sub(instead, failure.sentence)
    sentence = _RETRYING.sub(lambda match: f"{'R' if match['letter'] == 'R' else 'r'}un the action again", sentence)
    return failure.model_copy(update={"sentence": sentence})
