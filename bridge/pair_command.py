"""`stembridge pair`: the PIN for controllers on the network, who has paired, and how to end that."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from bridge.doors.osc_client import ACK, ERROR, OscClient
from protocol.address_space import PREFIX

EXAMPLES = (
    "  stembridge pair                          the PIN, and who has paired\n"
    "  stembridge pair --new-pin                another PIN; who has paired stays so\n"
    "  stembridge pair --remove 192.168.1.31    serve that controller no longer\n"
    "  stembridge pair --remove all\n"
    "exit codes: 0 done, 1 refused, 3 no answer\n"
)
DONE, REFUSED, NO_ANSWER = 0, 1, 3

_OFF = """Nobody elsewhere on the network reaches Stembridge. To change that, write into its configuration
(`stembridge doctor` says where that is, and how your interfaces are called)
    [lan]
    enabled = true
    interfaces = ["NAME"]
and start it again."""


def add_arguments(parser: Any, add_where: Any) -> None:
    """The options; `add_where` adds --config and --data-dir."""
    add_where(parser)
    parser.add_argument("--new-pin", action="store_true", help="make another PIN first")
    parser.add_argument("--remove", metavar="ADDR|all", help="serve this address no longer")


def main(arguments: Namespace, port: int) -> int:
    """Ask the daemon at `port` and print what it says."""
    with OscClient(port) as client:
        if arguments.remove:
            code, _ = _asked(client, f"{PREFIX}/unpair", arguments.remove)
            if code != DONE:
                return code
        code, told = _asked(client, f"{PREFIX}/lan", int(arguments.new_pin))
        for line in _lines(told) if code == DONE else ():
            print(line)
        return code


def _asked(client: OscClient, address: str, *args: object) -> tuple[int, list[tuple[str, tuple[Any, ...]]]]:
    """The exit code, and what came before the ack; what went wrong is said on stderr."""
    heard = client.ask(address, *args)
    last = heard[-1] if heard else None
    if last is None or last.address not in (ACK, ERROR):
        print("stembridge: no answer. Is the daemon running ('stembridge serve')?", file=sys.stderr)
        return NO_ANSWER, []
    if last.address == ERROR:
        print(f"stembridge: {last.args[1]}", file=sys.stderr)
        return REFUSED, []
    return DONE, [(message.address.removeprefix(f"{PREFIX}/"), message.args) for message in heard[:-1]]


def _lines(told: list[tuple[str, tuple[Any, ...]]]) -> list[str]:
    """The state and the controllers, in words."""
    (_, pin, addresses, osc_port, http_port) = next(args for name, args in told if name == "lan/state")
    paired = [args for name, args in told if name == "lan/paired"]
    lines = _how(pin, addresses.split(","), osc_port, http_port) if addresses else [_OFF]
    lines += ["", "Paired:" if paired else "Nobody has paired."]
    width = max((len(row[0]) for row in paired), default=0)
    for address, paired_s, heard_s in paired:
        heard = f"last heard {_ago(heard_s)}" if heard_s >= 0 else "not heard since"
        lines.append(f"  {address:<{width}}  paired {_ago(paired_s)}, {heard}")
    return lines


def _how(pin: str, addresses: list[str], osc_port: int, http_port: int) -> list[str]:
    if not pin:
        return ["Too many wrong PINs came, so nobody can pair now. `stembridge pair --new-pin` makes another."]
    lines = [f"PIN {pin}", "", f"OSC controllers send {PREFIX}/pair {pin} to"]
    lines += [f"  {address} port {osc_port}" for address in addresses]
    if http_port:
        lines.append("Browsers open")
        lines += [f"  http://{address}:{http_port}/pair/{pin}" for address in addresses]
    return lines


def _ago(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s' * (count > 1)} ago"
    return "just now"
