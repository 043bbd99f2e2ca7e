"""`stembridge pair` against a real OSC door: what it prints, and its exit codes."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from collections.abc import AsyncIterator

import pytest

from bridge import pair_command
from bridge.doors.osc import OscDoor
from bridge.pairing import WRONG_BEFORE_SHUT, Pairing, Reach
from tests.support.osc import MemoryDesk

TABLET = "192.168.1.31"


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def pairing(clock: Clock) -> Pairing:
    return Pairing(None, now=clock, clock=clock)


@pytest.fixture
async def port(pairing: Pairing) -> AsyncIterator[int]:
    door = OscDoor(MemoryDesk(), "127.0.0.1", 0, pairing=pairing)
    yield await door.start()
    await door.close()


async def run(port: int, *words: str) -> int:
    parser = ArgumentParser()
    pair_command.add_arguments(parser, lambda _: None)
    return await asyncio.to_thread(pair_command.main, parser.parse_args(words), port)


async def test_it_shows_the_pin_the_way_in_and_who_is_paired(
    port: int, pairing: Pairing, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    pairing.reach = lambda: Reach(("192.168.1.20", "10.0.0.2"), 9240, 9242)
    pairing.pair(TABLET, pairing.pin)
    clock.now += 3 * 86_400
    pairing.serves(TABLET)
    clock.now += 61
    assert await run(port) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"PIN {pairing.pin}"
    assert "  192.168.1.20 port 9240" in lines
    assert f"  http://10.0.0.2:9242/pair/{pairing.pin}" in lines
    assert lines[-1] == f"  {TABLET}  paired 3 days ago, last heard 1 minute ago"


async def test_with_the_lan_off_it_says_how_to_switch_it_on_and_shows_no_pin(
    port: int, pairing: Pairing, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(port) == 0
    said = capsys.readouterr().out
    assert "enabled = true" in said
    assert "Nobody has paired." in said
    assert pairing.pin not in said


async def test_without_http_no_link_is_shown(port: int, pairing: Pairing, capsys: pytest.CaptureFixture[str]) -> None:
    pairing.reach = lambda: Reach(("192.168.1.20",), 9240, 0)
    assert await run(port) == 0
    assert "http" not in capsys.readouterr().out


async def test_a_new_pin_is_made_when_asked_for_also_after_too_many_wrong_ones(
    port: int, pairing: Pairing, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    pairing.reach = lambda: Reach(("192.168.1.20",), 9240, 0)
    for _ in range(WRONG_BEFORE_SHUT):
        pairing.pair(TABLET, "000000")
        clock.now += 61
    assert await run(port) == 0
    assert "--new-pin" in capsys.readouterr().out
    assert await run(port, "--new-pin") == 0
    assert capsys.readouterr().out.startswith(f"PIN {pairing.pin}\n")
    assert len(pairing.pin) == 6


async def test_it_unpairs_one_or_all_and_refuses_who_is_not_paired(
    port: int, pairing: Pairing, capsys: pytest.CaptureFixture[str]
) -> None:
    for ip in (TABLET, "192.168.1.32", "192.168.1.33"):
        pairing.pair(ip, pairing.pin)
    assert await run(port, "--remove", TABLET) == 0
    assert TABLET not in capsys.readouterr().out
    assert await run(port, "--remove", TABLET) == 1
    assert "is not paired" in capsys.readouterr().err
    assert await run(port, "--remove", "all") == 0
    assert pairing.paired() == []


async def test_no_daemon_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    door = OscDoor(MemoryDesk(), "127.0.0.1", 0)
    port = await door.start()
    await door.close()
    await asyncio.sleep(0)
    assert await run(port) == 3
    assert "stembridge serve" in capsys.readouterr().err
