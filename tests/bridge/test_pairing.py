"""Pairing: who is served, what trying PINs out comes to, and what is remembered."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.pairing import (
    TRIES_IN_ALL,
    TRIES_PER_ADDRESS,
    TRIES_WINDOW_S,
    WRONG_BEFORE_SHUT,
    WRONG_PER_PIN,
    NotPaired,
    Pairing,
    Reach,
    canonical,
)

TABLET, STRANGER = "192.168.1.31", "192.168.1.66"


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Numbers:
    """Foreseeable PINs: 100000, 100001, ..."""

    def __init__(self) -> None:
        self.next = -1

    def __call__(self, below: int) -> int:
        self.next += 1
        return self.next % below


@pytest.fixture
def clock() -> Clock:
    return Clock(5000.0)


def pairing(clock: Clock, file: Path | None = None, own: Iterable[str] = ()) -> Pairing:
    return Pairing(file, own_addresses=lambda: own, now=Clock(1_800_000_000.0), clock=clock, random=Numbers())


def try_wrong(pairing: Pairing, clock: Clock, times: int) -> None:
    """So many wrong PINs from one address, slowly enough that each is looked at."""
    for _ in range(times):
        assert not pairing.pair(STRANGER, "999999")
        clock.now += TRIES_WINDOW_S / TRIES_PER_ADDRESS + 0.001


# --- who is served ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ip", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "192.168.1.20", "::ffff:c0a8:114"])
def test_this_machine_is_always_served(ip: str, clock: Clock) -> None:
    here = pairing(clock, own=("192.168.1.20",))
    assert here.serves(ip)
    assert here.is_here(ip)


@pytest.mark.parametrize(
    "ip", [TABLET, "8.8.8.8", "::2", "fe80::1%eth0", "0.0.0.0", "", "localhost", "127.0.0.1.x", "١"]
)
def test_nobody_else_is_served_before_pairing(ip: str, clock: Clock) -> None:
    assert not pairing(clock, own=("192.168.1.20",)).serves(ip)


@given(st.text(max_size=40))
def test_no_text_that_is_not_this_machine_is_served(ip: str) -> None:
    served = pairing(Clock(0.0)).serves(ip)
    assert not served or canonical(ip).startswith("127.") or canonical(ip) == "::1"


def test_the_right_pin_pairs_its_sender_alone(clock: Clock) -> None:
    here = pairing(clock)
    assert not here.pair(TABLET, "100001")
    assert not here.serves(TABLET)
    assert here.pair(TABLET, here.pin)
    assert here.serves(TABLET)
    assert here.serves(f"::ffff:{TABLET}")
    assert not here.is_here(TABLET)
    assert not here.serves(STRANGER)


@pytest.mark.parametrize("pin", ["100000", " 100000 ", 100000, 100000.0])
def test_a_pin_may_come_as_text_or_as_a_number(pin: object, clock: Clock) -> None:
    assert pairing(clock).pair(TABLET, pin)


@pytest.mark.parametrize(
    "pin", ["", "10000", "1000000", "１０００００", 100000.5, float("nan"), True, None, b"100000", "\udc80"]
)
def test_anything_else_is_not_the_pin(pin: object, clock: Clock) -> None:
    assert not pairing(clock).pair(TABLET, pin)


def test_the_pin_has_six_digits_and_is_new_at_each_start() -> None:
    pins = {Pairing(None).pin for _ in range(50)}
    assert all(len(pin) == 6 and pin.isdecimal() and pin[0] != "0" for pin in pins)
    assert len(pins) > 40


# --- trying out -------------------------------------------------------------------------------------------------------
def test_after_five_tries_in_a_minute_even_the_right_pin_of_that_address_is_not_looked_at(clock: Clock) -> None:
    here = pairing(clock)
    for _ in range(TRIES_PER_ADDRESS):
        assert here.may_try(STRANGER)
        assert not here.pair(STRANGER, "999999")
    assert not here.may_try(STRANGER)
    assert not here.pair(STRANGER, here.pin)
    assert here.pair(TABLET, here.pin)
    clock.now += TRIES_WINDOW_S
    assert here.pair(STRANGER, here.pin)


def test_many_addresses_together_have_twenty_tries_a_minute(clock: Clock) -> None:
    here = pairing(clock)
    for host in range(TRIES_IN_ALL):
        assert not here.pair(f"10.0.0.{host}", "999999")
    assert not here.may_try(TABLET)
    assert not here.pair(TABLET, here.pin)
    clock.now += TRIES_WINDOW_S
    assert here.pair(TABLET, here.pin)


def test_after_ten_wrong_tries_the_pin_is_another(clock: Clock) -> None:
    here = pairing(clock)
    before = here.pin
    try_wrong(here, clock, WRONG_PER_PIN - 1)
    assert here.pin == before
    try_wrong(here, clock, 1)
    assert here.pin != before
    assert not here.pair(TABLET, before)
    assert here.pair(TABLET, here.pin)


def test_after_a_hundred_wrong_tries_nobody_can_pair_until_a_new_pin_is_asked_for(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    here = pairing(clock)
    try_wrong(here, clock, WRONG_BEFORE_SHUT)
    assert here.pin == ""
    assert not here.pair(TABLET, "")
    assert not here.pair(TABLET, "100000")
    assert "--new-pin" in caplog.records[-1].getMessage()
    assert here.renew_pin() == here.pin != ""
    assert here.pair(TABLET, here.pin)


def test_a_right_pin_forgets_the_wrong_ones_before_it(clock: Clock) -> None:
    here = pairing(clock)
    try_wrong(here, clock, WRONG_BEFORE_SHUT - 1)
    assert here.pair(TABLET, here.pin)
    try_wrong(here, clock, WRONG_BEFORE_SHUT - 1)
    assert here.pin


def test_who_is_paired_costs_no_tries(clock: Clock) -> None:
    here = pairing(clock)
    here.pair(TABLET, here.pin)
    assert all(here.pair(TABLET, "an old PIN") for _ in range(50))
    assert here.may_try(TABLET)


# --- unpairing, being told --------------------------------------------------------------------------------------------
def test_unpaired_is_served_no_longer(clock: Clock) -> None:
    here = pairing(clock)
    for ip in (TABLET, STRANGER):
        here.pair(ip, here.pin)
    assert [row.address for row in here.unpair(TABLET)] == [TABLET]
    assert not here.serves(TABLET)
    assert here.serves(STRANGER)
    with pytest.raises(NotPaired, match=STRANGER):
        here.unpair(TABLET)
    assert [row.address for row in here.unpair("all")] == [STRANGER]
    assert here.paired() == []
    assert here.unpair("all") == []


def test_listeners_hear_of_every_change_until_they_stop(clock: Clock) -> None:
    here = pairing(clock)
    heard: list[tuple[str, int]] = []
    stop = here.listen(lambda: heard.append((here.pin, len(here.paired()))))
    here.pair(TABLET, here.pin)
    here.renew_pin()
    here.unpair("all")
    assert heard == [("100000", 1), ("100001", 1), ("100001", 0)]
    stop()
    here.renew_pin()
    assert len(heard) == 3


def test_what_is_told_names_the_pin_the_way_in_and_who_is_paired_since_when(clock: Clock) -> None:
    now = Clock(1000.0)
    here = Pairing(None, now=now, clock=clock, random=Numbers())
    here.reach = lambda: Reach(("192.168.1.20", "10.0.0.2"), 9240, 9242)
    here.pair(TABLET, here.pin)
    now.now += 60
    assert here.serves(TABLET)
    now.now += 5
    assert here.still_serves(TABLET)
    assert here.messages() == [
        ("lan/state", (True, "100000", "192.168.1.20,10.0.0.2", 9240, 9242)),
        ("lan/paired", (TABLET, 65.0, 5.0)),
    ]


# --- remembered -------------------------------------------------------------------------------------------------------
def test_the_paired_are_remembered_and_the_unpaired_forgotten(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "paired.json"
    first = pairing(clock, file)
    for ip in (TABLET, STRANGER, "fd00::7"):
        first.pair(ip, first.pin)
    first.unpair(STRANGER)
    first.close()
    again = pairing(clock, file)
    assert again.serves(TABLET)
    assert again.serves("fd00:0::7")
    assert not again.serves(STRANGER)
    assert again.paired() == first.paired()
    again.unpair("all")
    again.close()
    assert pairing(clock, file).paired() == []
    assert [path.name for path in tmp_path.iterdir()] == ["paired.json"]


def test_closing_remembers_when_each_was_last_heard(tmp_path: Path, clock: Clock) -> None:
    file, now = tmp_path / "paired.json", Clock(1000.0)
    first = Pairing(file, now=now, clock=clock)
    first.pair(TABLET, first.pin)
    now.now = 2000.0
    first.serves(TABLET)
    first.close()
    (row,) = Pairing(file).paired()
    assert (row.since, row.last_heard) == (1000.0, 2000.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"paired": 7}',
        '{"paired": [{"address": "all", "since": 1}]}',
        '{"paired": [{"address": "::2"}]}',
        '{"paired": ["192.168.1.7"]}',
        "[" * 100_000,
        "\0",
    ],
)
def test_a_damaged_file_pairs_nobody_and_is_said(
    text: str, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "paired.json"
    file.write_text(text)
    assert pairing(clock, file).paired() == []
    assert "pair again" in caplog.text


def test_a_folder_that_cannot_be_written_is_said_and_pairing_goes_on(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    here = pairing(clock, tmp_path / "gone" / "paired.json")
    with caplog.at_level(logging.WARNING):
        assert here.pair(TABLET, here.pin)
        here.close()
    assert here.serves(TABLET)
    assert "could not be remembered" in caplog.text


def test_the_file_is_whole_json_for_people_too(tmp_path: Path, clock: Clock) -> None:
    here = pairing(clock, tmp_path / "paired.json")
    here.pair(TABLET, here.pin)
    here.close()
    told = json.loads((tmp_path / "paired.json").read_text())
    assert told == {"paired": [{"address": TABLET, "since": 1.8e9, "last_heard": 1.8e9}]}
