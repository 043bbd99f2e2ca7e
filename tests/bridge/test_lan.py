"""The LAN side: which addresses are listened on, and what the doctor says of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from bridge import doctor_lan
from bridge.lan import Interface, Lan, chosen_addresses, interfaces_here
from bridge.web_config import LanConfig
from tests.support.pairing import HERE

LO = Interface(("lo",), ("127.0.0.1",), ("::1",))
WIRED = Interface(("Ethernet 2", "Realtek PCIe", "{4d36e972}"), ("192.168.1.20",), ("fe80::1", "2001:db8::20"))
STUDIO = Interface(("eth1",), ("10.0.0.2", "10.0.0.3"))


# --- which addresses --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("wanted", "addresses", "missing"),
    [
        ((), (), ()),
        (("eth1",), ("10.0.0.2", "10.0.0.3"), ()),
        (("ETHERNET 2",), ("192.168.1.20",), ()),
        (("{4D36E972}", "10.0.0.3"), ("192.168.1.20", "10.0.0.3"), ()),
        (("eth1", "10.0.0.3"), ("10.0.0.2", "10.0.0.3"), ()),
        (("wlan0", "eth1", "10.9.9.9"), ("10.0.0.2", "10.0.0.3"), ("wlan0", "10.9.9.9")),
        (("lo",), (), ("lo",)),
    ],
)
def test_interfaces_are_named_by_any_of_their_names_or_addresses(
    wanted: Sequence[str], addresses: Sequence[str], missing: Sequence[str]
) -> None:
    assert chosen_addresses(wanted, [LO, WIRED, STUDIO]) == (addresses, missing)


def test_the_interfaces_of_this_machine_are_found() -> None:
    assert HERE in [address for interface in interfaces_here() for address in interface.ipv4]


async def test_off_listens_nowhere_else_whatever_is_named() -> None:
    lan = Lan(LanConfig(enabled=False, interfaces=("eth1",)), interfaces=lambda: [LO, STUDIO])
    await lan.look()
    assert (lan.addresses, lan.osc_hosts, lan.reachable) == ((), (), ())


@pytest.mark.parametrize(
    ("osc_host", "also", "reachable"),
    [
        ("127.0.0.1", ("10.0.0.2", "10.0.0.3"), ("10.0.0.2", "10.0.0.3")),
        ("localhost", ("10.0.0.2", "10.0.0.3"), ("10.0.0.2", "10.0.0.3")),
        ("10.0.0.2", ("127.0.0.1", "10.0.0.3"), ("10.0.0.2", "10.0.0.3")),
        ("192.168.1.20", ("127.0.0.1", "10.0.0.2", "10.0.0.3"), ("192.168.1.20", "10.0.0.2", "10.0.0.3")),
        ("0.0.0.0", (), ("192.168.1.20", "10.0.0.2", "10.0.0.3")),
    ],
)
async def test_the_loopback_and_the_lan_are_listened_on_whatever_address_osc_was_given(
    osc_host: str, also: Sequence[str], reachable: Sequence[str]
) -> None:
    lan = Lan(LanConfig(enabled=True, interfaces=("eth1",)), osc_host, interfaces=lambda: [LO, WIRED, STUDIO])
    await lan.look()
    assert (lan.osc_hosts, lan.reachable) == (also, reachable)


async def test_addresses_of_this_machine_are_its_own_but_link_local_ones_belong_to_any_link() -> None:
    lan = Lan(LanConfig(), interfaces=lambda: [LO, WIRED])
    await lan.look()
    assert lan.own_addresses() == {"127.0.0.1", "::1", "192.168.1.20", "2001:db8::20"}


@pytest.mark.parametrize("names", [(), ("wlan0",)])
async def test_an_interface_that_is_not_there_is_one_warning_that_names_those_there_are(
    names: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    lan = Lan(LanConfig(enabled=True, interfaces=names), interfaces=lambda: [LO, WIRED])
    for _ in range(3):
        await lan.refresh()
    (warning,) = caplog.messages
    assert "Ethernet 2 (192.168.1.20)" in warning
    assert all(name in warning for name in names)


async def test_an_interface_that_comes_goes_and_comes_elsewhere_is_followed() -> None:
    present = [LO]
    told: list[Sequence[str]] = []

    async def broken() -> None:
        raise RuntimeError("this door fails")

    async def listener() -> None:
        told.append(lan.addresses)

    lan = Lan(LanConfig(enabled=True, interfaces=("eth1",)), interfaces=lambda: list(present))
    await lan.look()
    lan.follow(broken)
    lan.follow(listener)
    for now in ([LO, STUDIO], [LO], [LO, Interface(("eth1",), ("10.1.0.9",))]):
        present[:] = now
        await lan.refresh()
    assert told == [("10.0.0.2", "10.0.0.3"), (), ("10.1.0.9",)]


async def test_it_looks_again_by_itself_until_stopped() -> None:
    looked = asyncio.Event()
    looks: list[int] = []
    loop = asyncio.get_running_loop()

    def look() -> list[Interface]:
        looks.append(1)
        if len(looks) == 3:
            loop.call_soon_threadsafe(looked.set)
        return [LO]

    lan = Lan(LanConfig(enabled=True, interfaces=("eth1",)), interfaces=look, every_s=0.0)
    lan.start(9240, None)
    await asyncio.wait_for(looked.wait(), 5)
    await lan.stop()
    seen = len(looks)
    await asyncio.sleep(0)
    assert len(looks) == seen


@pytest.mark.parametrize(
    ("config", "status", "said"),
    [
        (LanConfig(), "ok", "nobody elsewhere"),
        (LanConfig(enabled=True), "warn", "names no interface"),
        (
            LanConfig(enabled=True, interfaces=("eth1", "wlan0")),
            "warn",
            "10.0.0.2, 10.0.0.3; wlan0 not found",
        ),
        (LanConfig(enabled=True, interfaces=("eth1",)), "ok", "listens at 10.0.0.2, 10.0.0.3"),
        (LanConfig(enabled=True, interfaces=("wan",)), "warn", "8.8.8.8 is an address on the internet"),
    ],
)
def test_the_doctor_says_who_reaches_the_daemon(
    config: LanConfig, status: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wan = Interface(("wan",), ("8.8.8.8",))
    monkeypatch.setattr(doctor_lan, "interfaces_here", lambda: [LO, STUDIO, wan])
    check = doctor_lan.check_lan(config)
    assert (check.status, said in check.detail) == (status, True), check
    assert bool(check.advice) == (status == "warn")
