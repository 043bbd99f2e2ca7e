"""`stembridge live`: start, change, watch and end live extension of the running daemon."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from bridge.doors.osc_client import ACK, ERROR, OscClient, argument
from protocol.address_space import PREFIX
from protocol.errors import BadArgument
from protocol.task import SETTINGS

DONE, REFUSED, NO_ANSWER = 0, 1, 3
_RENEW_S = 30.0

_OPTIONS = (
    *("file", "at", "join", "input", "out", "device", "offset_ms", "clock", "id"),
    *("phrase_bars", "lead_bars", "context_bars"),
)


def main(arguments: Namespace, port: int) -> int:
    """Run one action against the daemon at `port`; exit codes as for `stembridge send`."""
    if arguments.action == "devices":
        return _devices()
    if arguments.action == "watch":
        return _watch(port)
    with OscClient(port) as client:
        words = _words(arguments)
        replies = client.ask(f"{PREFIX}/live/{arguments.action}", *words)
        for reply in replies:
            _print(reply.address, reply.args)
        if not replies or replies[-1].address not in (ACK, ERROR):
            print("stembridge: no answer. Is the daemon running ('stembridge serve')?", file=sys.stderr)
            return NO_ANSWER
        return DONE if replies[-1].address == ACK else REFUSED


def _words(arguments: Namespace) -> list[object]:
    if arguments.action not in ("start", "set"):
        return []
    words: list[object] = []
    for name in _OPTIONS:
        value = getattr(arguments, name, None)
        if value is not None:
            words += [name, _whole(value) if name == "file" else value]
    settings: Sequence[str] = arguments.settings
    if len(settings) % 2:
        raise BadArgument(f"Settings come in pairs, NAME VALUE; {settings[-1]!r} has no value.")
    for name, value in zip(settings[::2], settings[1::2], strict=True):
        if name not in SETTINGS:
            raise BadArgument(f"There is no setting {name!r}; there are {', '.join(SETTINGS)}.")
        words += [name, argument(value)]
    return words


def _whole(name: str) -> str:
    """A file as the daemon, which runs elsewhere, finds it; a name that is no file here is one of the project."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else name


def _watch(port: int) -> int:
    with OscClient(port) as client:
        while True:
            client.send(f"{PREFIX}/subscribe", "ttl", 2 * _RENEW_S)
            heard = False
            for message in client.replies(_RENEW_S):
                heard = True
                if "/live/" in message.address or message.address == ERROR:
                    _print(message.address, message.args)
            if not heard:
                print("stembridge: no answer. Is the daemon running ('stembridge serve')?", file=sys.stderr)
                return NO_ANSWER


def _devices() -> int:
    from bridge.live.audio_device import devices

    for device in devices():
        print(device)
    return DONE


def _print(address: str, values: Sequence[object]) -> None:
    shown = (f"{value:.3f}" if isinstance(value, float) else str(value) for value in values)
    print(" ".join([address.removeprefix(f"{PREFIX}/"), *shown]), flush=True)
