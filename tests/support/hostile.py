"""Single packets that stop, slow or confuse servers that trust what they receive."""

from __future__ import annotations

import struct

from pythonosc.osc_message_builder import OscMessageBuilder


def _nested(depth: int) -> bytes:
    inner = OscMessageBuilder(address="/stembridge/ping").build().dgram
    for _ in range(depth):
        inner = b"#bundle\0" + struct.pack(">Qi", 1, len(inner)) + inner
    return inner


HOSTILE = {
    "negative element size": b"#bundle\0" + struct.pack(">Qi", 1, -4),
    "zero element size": b"#bundle\0" + struct.pack(">Qi", 1, 0),
    "nested 1500 deep": _nested(1500),
    "address pattern bomb": b"/****************************************************************!\0\0,\0\0\0",
    "64 KB": b"/stembridge/tempo\0\0\0,s\0\0" + b"x" * 65_000,
    "empty": b"",
    "not OSC": b"GET / HTTP/1.1\r\n\r\n",
    "unbalanced array": b"/stembridge/ping\0\0\0\0,[i\0\0\0\0\1",
    "unterminated string": b"/stembridge/ping\0\0\0\0,s\0\0abcd",
    "bad utf-8": b"/stembridge/ping\0\0\0\0,s\0\0\xff\xfe\xfd\0",
    "unknown tags": b"/stembridge/ping\0\0\0\0,iQf\0\0\0\0" + b"\0" * 16,
    "blob that claims 2 GB": b"/stembridge/ping\0\0\0\0,b\0\0\x7f\xff\xff\xff",
    "nan tempo": b"/stembridge/tempo\0\0\0,f\0\0\x7f\xc0\0\0",
    "infinite region": b"/stembridge/region\0\0,ff\0\x7f\x80\0\0\x7f\x80\0\0",
}
