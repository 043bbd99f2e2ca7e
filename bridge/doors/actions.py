"""Messages of our address table from where there is no socket: a pedal, a pad. What OSC would answer is logged.

Errors go to all subscribers as well: whoever steps on a pedal looks at a controller or a page, not at a log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from bridge.desk import Desk
from bridge.doors.osc_handlers import Call, handler_for, queued_handler_for
from bridge.doors.osc_subscriptions import Subscribers
from protocol.address_space import parse
from protocol.errors import BadArgument, StembridgeError

log = logging.getLogger("stembridge.actions")

NO_SENDER = ("", 0)

Complain = Callable[[str, str, str], None]
"""Told the code, the sentence and the address of what was refused."""


async def perform(
    desk: Desk, path: str, args: Sequence[object], client: str, clock: Callable[[], float], complain: Complain
) -> None:
    """Do what the message at `path` asks, on behalf of `client` (``midi:...``). Raises nothing."""
    try:
        command = parse(path, args)
        if command.address.group == "client":
            raise BadArgument(f"{path} is for programs that listen to the answer.")
        call = Call(desk, Subscribers(clock), command, NO_SENDER, desk.session, clock(), _note, client)
        queued = queued_handler_for(command)
        if queued is not None:
            await queued(call)
        else:
            handler_for(command)(call)
    except StembridgeError as error:
        log.warning("%s asked for %s: %s", client, path, error.sentence)
        complain(error.code, error.sentence, path)
    except Exception:
        log.exception("%s asked for %s, which failed inside Stembridge", client, path)
        complain("internal", "Something went wrong inside Stembridge; its log says more.", path)


def _note(name: str, *values: object) -> None:
    log.info("answered %s %s", name, " ".join(map(str, values)))
