"""The guard: no datagram does more than be refused, and what is OSC comes out as it was meant."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder

from bridge.doors.osc_guard import MAX_ARGUMENTS, MAX_DATAGRAM, MAX_DEPTH, MAX_ELEMENTS, decode
from bridge.doors.osc_messages import request_datagram
from protocol.errors import BadPacket
from protocol.float32 import Single, as_single

NOW = (1).to_bytes(8, "big")
PING = request_datagram("/stembridge/ping", [])


def text(value: str) -> bytes:
    raw = value.encode()
    return raw + b"\0" * (4 - len(raw) % 4)


def bundle(*elements: bytes, timetag: bytes = NOW) -> bytes:
    return b"#bundle\0" + timetag + b"".join(struct.pack(">i", len(e)) + e for e in elements)


def nested(depth: int) -> bytes:
    packet = PING
    for _ in range(depth):
        packet = bundle(packet)
    return packet


KILLERS = {
    "negative bundle size": b"#bundle\0" + NOW + struct.pack(">i", -4),
    "bundle size zero": b"#bundle\0" + NOW + bytes(4),
    "bundle size beyond the end": b"#bundle\0" + NOW + struct.pack(">i", 400) + PING,
    "bundle size that is no multiple of four": b"#bundle\0" + NOW + struct.pack(">i", 3) + b"/a\0",
    "bundle that ends in its header": b"#bundle\0" + NOW[:4],
    "bundle that ends in a size": bundle(PING) + b"\0\0",
    "nesting too deep for recursion": nested(300),
    "one level too deep": nested(MAX_DEPTH + 1),
    "too many elements": bundle(*[PING] * (MAX_ELEMENTS + 1)),
    "too many elements on two levels": bundle(*[bundle(*[PING] * 32)] * 3),
    "backtracking pattern": text("/" + "*" * 66 + "!") + text(","),
    "backtracking pattern of parts": text("/" + "*a" * 14 + "!") + text(","),
    "alternatives": text("/{a,b}") + text(","),
    "range": text("/[a-z]") + text(","),
    "any path": text("//ping") + text(","),
    "65 kilobytes": text("/a") + text(",b") + struct.pack(">i", 65000) + bytes(65000),
    "one byte too many": PING + bytes(MAX_DATAGRAM - len(PING) + 4),
    "nothing": b"",
    "no padding": b"/abc",
    "no address": text("ping") + text(","),
    "an address that is not ASCII": text("/Gesänge") + text(","),
    "control characters": text("/a\nb") + text(","),
    "an endless address": b"/" + b"a" * 4000 + bytes(4) + text(","),
    "no type tags": text("/a") + text("i") + bytes(4),
    "unknown type": text("/a") + text(",q") + bytes(4),
    "an array left open": text("/a") + text(",[i") + bytes(4),
    "an array never opened": text("/a") + text(",i]") + bytes(4),
    "an argument that is missing": text("/a") + text(",ii") + bytes(4),
    "more than the arguments": text("/a") + text(",i") + bytes(8),
    "text without end": text("/a") + text(",s") + b"abcd",
    "text that is not UTF-8": text("/a") + text(",s") + b"\xff\xfe\xfd\0",
    "blob of negative size": text("/a") + text(",b") + struct.pack(">i", -8),
    "blob beyond the end": text("/a") + text(",b") + struct.pack(">i", 2**31 - 4),
    "blob without size": text("/a") + text(",b"),
    "a character beyond ASCII": text("/a") + text(",c") + struct.pack(">i", 0x110000),
    "too many arguments": text("/a") + text("," + "T" * (MAX_ARGUMENTS + 1)),
}


@pytest.mark.parametrize("name", KILLERS)
def test_single_packet_killers_are_refused(name: str) -> None:
    with pytest.raises(BadPacket, match=r"\.$"):
        decode(KILLERS[name])


@given(st.binary(max_size=200))
@example(b"#bundle\0")
@example(text("/a") + b",")
def test_arbitrary_bytes_raise_nothing_but_bad_packet(datagram: bytes) -> None:
    for form in (datagram, text("/a") + datagram, b"#bundle\0" + NOW + datagram, text("/a") + b"," + datagram):
        with suppress(BadPacket):
            decode(form)


@given(
    st.sampled_from([nested(MAX_DEPTH), bundle(PING, PING), request_datagram("/a", ["x", 1, 2.5, b"blob", 2**40])]),
    st.lists(st.tuples(st.integers(0, 199), st.integers(0, 255)), max_size=6),
)
def test_damaged_packets_raise_nothing_but_bad_packet(datagram: bytes, damage: list[tuple[int, int]]) -> None:
    packet = bytearray(datagram)
    for place, value in damage:
        packet[place % len(packet)] = value
    with suppress(BadPacket):
        decode(bytes(packet))


SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "i": st.integers(-(2**31), 2**31 - 1),
    "h": st.integers(-(2**63), 2**63 - 1),
    "f": st.floats(width=32),
    "d": st.floats(),
    "s": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    "b": st.binary(min_size=1, max_size=20),
    "r": st.integers(0, 2**32 - 1),
    "m": st.tuples(*[st.integers(0, 255)] * 4),
    "T": st.just(True),
    "F": st.just(False),
    "N": st.none(),
}
TYPED = st.lists(
    st.sampled_from(sorted(SCALARS)).flatmap(lambda tag: st.tuples(st.just(tag), SCALARS[tag])), max_size=12
)


@given(TYPED)
def test_what_python_osc_builds_comes_out_as_it_went_in(arguments: list[tuple[str, Any]]) -> None:
    builder = OscMessageBuilder("/stembridge/ping")
    for tag, value in arguments:
        builder.add_arg(value, tag)
    (message,) = decode(builder.build().dgram)
    assert message.address == "/stembridge/ping"
    assert message.due is None
    for (tag, sent), got in zip(arguments, message.args, strict=True):
        if tag in "fd" and math.isnan(sent):
            assert isinstance(got, float)
            assert math.isnan(got)
        elif tag == "f":
            assert isinstance(got, Single)
            assert as_single(got) == sent
        else:
            assert got == sent


def test_types_that_python_osc_misreads_are_read_right() -> None:
    data = struct.pack(">i", 1) + text("sym") + struct.pack(">f", 2.5) + struct.pack(">i", ord("x"))
    (message,) = decode(text("/a") + text(",iSfcIN") + data)
    assert message.args == (1, "sym", 2.5, "x", math.inf, None)


def test_arrays_are_read_as_their_elements() -> None:
    (message,) = decode(text("/a") + text(",[i[f]]s") + struct.pack(">if", 1, 0.5) + text("end"))
    assert message.args == (1, 0.5, "end")


def test_an_empty_blob_is_one() -> None:
    (message,) = decode(text("/a") + text(",bi") + struct.pack(">ii", 0, 7))
    assert message.args == (b"", 7)


def test_a_float_is_the_decimal_that_was_meant() -> None:
    (message,) = decode(text("/a") + text(",f") + struct.pack(">f", 120.37))
    assert message.args == (120.37,)


def test_a_message_without_type_tags_or_arguments_is_one() -> None:
    assert decode(text("/stembridge/ping"))[0].args == ()
    assert decode(text("#reply") + text(",s") + text("x"))[0].address == "#reply"


def test_bundles_keep_the_order_of_their_messages_at_every_depth() -> None:
    one, two, three, four = (request_datagram(f"/{n}", []) for n in (1, 2, 3, 4))
    messages = decode(bundle(one, bundle(two, bundle(three)), four))
    assert [message.address for message in messages] == ["/1", "/2", "/3", "/4"]
    assert all(message.due is None for message in messages)


def test_a_bundles_time_is_seconds_since_1970_and_nothing_inside_is_due_earlier() -> None:
    builder = OscBundleBuilder(1_800_000_000.25)
    builder.add_content(OscMessageBuilder("/a").build())
    (outer,) = decode(builder.build().dgram)
    assert outer.due == pytest.approx(1_800_000_000.25, abs=1e-6)
    (inner,) = decode(bundle(bundle(PING), timetag=builder.build().dgram[8:16]))
    assert inner.due == outer.due


@pytest.mark.parametrize(
    "build",
    [
        lambda: request_datagram("/stembridge/tempo/map", [1.5, 97.5, 4, 4, 0] * 200),
        lambda: request_datagram("/a", [b"x" * 8100]),
        lambda: nested(MAX_DEPTH),
        lambda: bundle(*[PING] * MAX_ELEMENTS),
        lambda: text("/" + "a" * 254) + text(","),
    ],
)
def test_what_lies_just_within_the_caps_is_read(build: Callable[[], bytes]) -> None:
    assert decode(build())
