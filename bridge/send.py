"""`stembridge send`: one message out, every reply printed as a line, and an exit code that scripts can use."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from bridge.doors.osc_client import ACK, ERROR, PONG, OscClient, argument
from protocol.address_space import PREFIX
from protocol.vocabulary import JobState, Verb

ACKNOWLEDGED, REFUSED, NO_ANSWER = 0, 1, 3
DEFAULT_WAIT_S = 5.0

_JOB_VERBS = {f"{PREFIX}/{verb}" for verb in Verb} | {f"{PREFIX}/retry"}


def send(host: str, port: int, address: str, words: Sequence[str], *, wait_s: float | None = None) -> int:
    """Send `address` with `words` and print the replies.

    Without `wait_s`: up to the acknowledgment. With it: for a verb, until its job has ended or the time is over.
    Returns 0 if acknowledged, 1 if refused or if the job failed, 3 if nobody answered.
    """
    follows = wait_s is not None and address in _JOB_VERBS
    deadline = time.monotonic() + (wait_s if wait_s is not None else DEFAULT_WAIT_S)
    job = ""
    try:
        found = OscClient(port, host)
    except OSError as error:
        print(f"stembridge: {host!r} cannot be reached: {error.strerror or error}. Check --host.", file=sys.stderr)
        return NO_ANSWER
    with found as client:
        client.send(address, *(argument(word) for word in words))
        while (message := client.receive(deadline - time.monotonic())) is not None:
            print(" ".join([message.address, *map(str, message.args)]), flush=True)
            if message.address == ERROR:
                return REFUSED
            if message.address in (ACK, PONG):
                if not follows:
                    return ACKNOWLEDGED
                job = str(message.args[0])
            elif job and _has_ended(message.address, message.args, job):
                return ACKNOWLEDGED
    if job:
        print(f"stembridge: job {job} goes on; 'stembridge jobs' shows how it ends.", file=sys.stderr)
        return ACKNOWLEDGED
    print(f"stembridge: no answer from {host}:{port}. Is the daemon running ('stembridge serve')?", file=sys.stderr)
    return NO_ANSWER


def _has_ended(address: str, args: Sequence[object], job: str) -> bool:
    """True for the last event of `job`; a failed one ends with an error, which was looked at before."""
    if not args or args[0] != job:
        return False
    return address == f"{PREFIX}/job/done" or (address == f"{PREFIX}/job/state" and args[1] == JobState.CANCELLED)
