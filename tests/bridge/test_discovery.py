"""Discovery on the loopback, with real zeroconf on both sides."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zeroconf import ServiceInfo

from bridge.discovery import (
    Advertiser,
    DiscoveryUnavailable,
    Found,
    discover,
    instance_name,
    parse_interfaces,
    read_txt,
    txt_records,
    usable_addresses,
)
from protocol.errors import BadArgument

DEADLINE_S = 10.0


def advertiser(name: str, port: int, **more: object) -> Advertiser:
    settings: dict[str, object] = {"interfaces": "lo", "version": "0.1.0", "engine": "sketch", **more}
    return Advertiser(name=name, osc_port=port, **settings)  # type: ignore[arg-type]


async def see(name: str, port: int) -> Found:
    def wanted(found: Found) -> bool:
        return found.name == name and found.port == port

    services = await discover(DEADLINE_S, "lo", until=wanted)
    return next(filter(wanted, services))


async def test_a_daemon_is_found_with_its_port_and_txt_records_and_is_gone_after_stop():
    door = advertiser("Stembridge on Gesänge ü", 40001)
    door.start()
    assert door.name is None, "start returns before the network has agreed to the name"
    assert await asyncio.wait_for(door.settled(), DEADLINE_S) == "Stembridge on Gesänge ü"
    found = await see("Stembridge on Gesänge ü", 40001)
    assert found.host == "127.0.0.1"
    assert found.properties == {"version": "0.1.0", "engine": "sketch", "protocol": "1"}
    assert found.is_stembridge
    await asyncio.wait_for(door.stop(), DEADLINE_S)
    assert "Stembridge on Gesänge ü" not in [service.name for service in await discover(1.0, "lo")]


async def test_a_taken_name_is_changed_and_the_new_name_is_the_one_reported(caplog: pytest.LogCaptureFixture):
    first, second = advertiser("Stembridge twin", 40002), advertiser("Stembridge twin", 40003)
    first.start()
    await asyncio.wait_for(first.settled(), DEADLINE_S)
    caplog.set_level(logging.INFO, "stembridge.discovery")
    second.start()
    name = await asyncio.wait_for(second.settled(), DEADLINE_S)
    try:
        assert name == "Stembridge twin-2"
        assert 'the name "Stembridge twin" was taken' in caplog.text
        assert (await see("Stembridge twin-2", 40003)).host == "127.0.0.1"
    finally:
        await asyncio.gather(first.stop(), second.stop())


async def test_new_addresses_are_announced_when_the_interfaces_change():
    present = ["127.0.0.1"]
    door = advertiser("Stembridge moving", 40004, interfaces="all", local_addresses=lambda: list(present))
    door.start()
    await asyncio.wait_for(door.settled(), DEADLINE_S)
    try:
        assert (await see("Stembridge moving", 40004)).host == "127.0.0.1"
        present[:] = ["127.0.0.2"]
        await asyncio.wait_for(door.refresh(), DEADLINE_S)
        assert (await see("Stembridge moving", 40004)).host == "127.0.0.2"
    finally:
        await door.stop()


async def test_addresses_off_the_loopback_are_announced_as_they_come_and_go():
    listening = ["127.0.0.1"]
    also: list[str] = []
    door = advertiser("Stembridge on the LAN", 40007, hosts=lambda: tuple(listening), also=lambda: tuple(also))
    door.start()
    await asyncio.wait_for(door.settled(), DEADLINE_S)
    try:
        assert (await see("Stembridge on the LAN", 40007)).host == "127.0.0.1"
        listening[:] = also[:] = ["127.0.0.3"]
        await asyncio.wait_for(door.refresh(), DEADLINE_S)
        assert (await see("Stembridge on the LAN", 40007)).host == "127.0.0.3"
    finally:
        await door.stop()


async def test_an_interface_that_does_not_exist_is_one_warning_and_nothing_else(caplog: pytest.LogCaptureFixture):
    door = advertiser("Stembridge nowhere", 40005, interfaces=["192.0.2.77"], follow_every_s=0.0)
    door.start()
    assert await asyncio.wait_for(door.settled(), DEADLINE_S) is None
    await door.stop()
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "192.0.2.77" in warnings[0]
    assert "lo, all or one of" in warnings[0]


async def test_off_advertises_nothing_and_settles_at_once():
    door = advertiser("Stembridge silent", 40006, interfaces="off")
    door.start()
    assert await asyncio.wait_for(door.settled(), 0.5) is None
    await door.stop()


async def test_looking_on_an_interface_that_does_not_exist_says_which_there_are():
    with pytest.raises(DiscoveryUnavailable, match=r"192\.0\.2\.77.*127\.0\.0\.1"):
        await discover(0.1, ["192.0.2.77"])


def test_a_service_without_txt_records_reads_as_no_properties():
    assert read_txt({b"": None}) == {}
    assert read_txt({b"a": None, b"b": b"\xff"}) == {"a": "", "b": "\ufffd"}
    assert not Found("Ardour-77", "127.0.0.1", 3819, read_txt({b"": None})).is_stembridge


@given(st.text(max_size=300), st.text(max_size=300), st.integers(0, 10**6))
def test_txt_records_stay_under_400_bytes_and_are_accepted(version: str, engine: str, protocol: int):
    records = txt_records(version, engine, protocol)
    info = ServiceInfo("_osc._udp.local.", "x._osc._udp.local.", port=1, properties=records)
    assert info.text is not None
    assert len(info.text) < 400


@given(st.text(max_size=200))
def test_every_host_name_gives_an_instance_name_that_fits_even_after_a_rename(host: str):
    name = instance_name(host)
    assert len(f"{name}-99".encode()) <= 63
    assert name.startswith("Stembridge on ")
    assert name.isprintable()


@pytest.mark.parametrize(
    ("text", "value"),
    [("lo", "lo"), (" ALL ", "all"), ("off", "off"), ("10.0.0.1, 192.168.1.20", ["10.0.0.1", "192.168.1.20"])],
)
def test_interface_settings_are_read(text: str, value: object):
    assert parse_interfaces(text) == value


@pytest.mark.parametrize("text", ["", ",", "eth0", "10.0.0.1,300.1.1.1", "::1"])
def test_other_interface_settings_are_refused_with_what_is_allowed(text: str):
    with pytest.raises(BadArgument, match="lo, all, off"):
        parse_interfaces(text)


def test_all_takes_every_address_and_a_list_only_those_present():
    def local() -> list[str]:
        return ["192.168.1.20", "127.0.0.1"]

    assert usable_addresses("all", local) == ["127.0.0.1", "192.168.1.20"]
    assert usable_addresses(["192.168.1.20", "10.9.9.9"], local) == ["192.168.1.20"]
    assert usable_addresses("10.9.9.9, 192.168.1.20", local) == ["192.168.1.20"]
    assert usable_addresses("lo", local) == ["127.0.0.1"]
