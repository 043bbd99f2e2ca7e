"""The OSC door on a real UDP socket: who is answered what, in which order, and that nothing stops it."""

from __future__ import annotations

import asyncio
import errno
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from bridge.config import DEFAULT_OSC_PORT, OscConfig
from bridge.doors.osc import MAX_SCHEDULED, OscDoor
from bridge.doors.osc_client import ACK, ERROR, AsyncOscClient, OscClient, argument
from bridge.doors.osc_guard import decode
from bridge.doors.osc_limits import MAX_WAITING
from bridge.doors.osc_messages import reply_datagram
from bridge.doors.osc_subscriptions import MAX_SUBSCRIBERS, SESSION_INTERVAL_S
from protocol.address_space import INCOMING
from protocol.events import JobChanged, JobProgressed, TakeDelivered
from protocol.float32 import as_single
from protocol.job import Failure, Progress, Recipe, Take
from protocol.osc_reference import render
from protocol.vocabulary import JobState, Verb
from tests.bridge.test_osc_guard import KILLERS
from tests.support.osc import MemoryDesk, bundle, job_named, message, single


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


NewClient = Callable[[], Awaitable[AsyncOscClient]]


@pytest.fixture
def desk() -> MemoryDesk:
    return MemoryDesk()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wall() -> Clock:
    return Clock(1_800_000_000.0)


@pytest.fixture
async def door(desk: MemoryDesk, clock: Clock, wall: Clock) -> AsyncIterator[tuple[OscDoor, int]]:
    door = OscDoor(desk, "127.0.0.1", 0, clock=clock, wall=wall)
    port = await door.start()
    yield door, port
    desk.gate.set()
    await door.close()


@pytest.fixture
async def new_client(door: tuple[OscDoor, int]) -> AsyncIterator[NewClient]:
    clients: list[AsyncOscClient] = []

    async def open_client() -> AsyncOscClient:
        clients.append(await AsyncOscClient.open(door[1]))
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


@pytest.fixture
async def client(new_client: NewClient) -> AsyncOscClient:
    return await new_client()


async def answer(client: AsyncOscClient, address: str, *args: object) -> tuple[str, tuple[Any, ...]]:
    """The last reply to a message: its ack, error or pong."""
    reply = (await client.ask(address, *args))[-1]
    return reply.address, reply.args


async def heard_until_ping(client: AsyncOscClient) -> list[tuple[Any, ...]]:
    """All that has come to this client by the time a ping of its own is answered."""
    client.send("/stembridge/ping", "mark")
    messages = await client.until(lambda m: m.address == "/stembridge/pong" and m.args[-1] == "mark")
    return [(m.address.removeprefix("/stembridge/"), *m.args) for m in messages[:-1]]


def named(client: AsyncOscClient) -> str:
    return f"osc:127.0.0.1:{client.port}"


# --- answers ----------------------------------------------------------------------------------------------------------
async def test_ping_is_answered_with_versions_and_its_own_arguments(client: AsyncOscClient) -> None:
    assert await answer(client, "/stembridge/ping", "x", 7, 2.5, True) == (
        "/stembridge/pong",
        ("0.0.test", "sketch", 1, "x", 7, 2.5, 1),
    )


@pytest.mark.parametrize("path", INCOMING)
async def test_every_address_is_answered_even_with_nonsense(client: AsyncOscClient, path: str) -> None:
    address, args = await answer(client, path, "nonsense", "nonsense", "nonsense")
    assert address == ("/stembridge/pong" if path.endswith("ping") else ERROR)
    if address == ERROR:
        assert args[0] in ("bad_argument", "unknown_address")
        assert args[2] == path


async def test_a_session_message_is_acknowledged_by_its_address_and_told(
    client: AsyncOscClient, desk: MemoryDesk, clock: Clock
) -> None:
    assert await answer(client, "/stembridge/tempo", 97.53) == (ACK, ("/stembridge/tempo",))
    assert desk.session.tempo is not None
    assert desk.session.tempo.value == 97.53
    assert (desk.session.tempo.source, desk.session.tempo.at) == (named(client), clock.now)


async def test_project_and_source_are_the_desks(client: AsyncOscClient, desk: MemoryDesk) -> None:
    assert await answer(client, "/stembridge/project", "/Gesänge ü", 44100) == (ACK, ("/stembridge/project",))
    assert await answer(client, "/stembridge/source", "a.wav", 1.5) == (ACK, ("/stembridge/source",))
    rows = {row[0]: row[1] for row in desk.session.describe(0.0)}
    assert rows == {"project": "/Gesänge ü (44100 Hz)", "source": "a.wav (from 1.5 s)"}
    code, _, where = (await answer(client, "/stembridge/project", "/gone"))[1]
    assert (code, where) == ("project_gone", "/stembridge/project")


async def test_the_session_is_told_field_by_field_before_its_ack(client: AsyncOscClient, clock: Clock) -> None:
    await answer(client, "/stembridge/tempo", 97.53)
    await answer(client, "/stembridge/set/prompt", "drums")
    clock.now += 5
    replies = await client.ask("/stembridge/session")
    assert [(m.address, m.args) for m in replies] == [
        ("/stembridge/session/state", ("tempo", "97.53", named(client), 5.0)),
        ("/stembridge/session/state", ("set/prompt", "drums", named(client), 5.0)),
        (ACK, ("/stembridge/session",)),
    ]


async def test_a_verb_is_acknowledged_with_id_verb_engine_and_place(client: AsyncOscClient, desk: MemoryDesk) -> None:
    first = await answer(client, "/stembridge/repaint", "prompt", "drums", "id", "mine", "seed", 7)
    assert first == (ACK, ("mine", "repaint", "sketch", 0))
    assert (await answer(client, "/stembridge/extend", "bars", 4))[1][1:] == ("extend", "sketch", 1)
    verb, settings, _, reply_to = desk.requests[0]
    assert (verb, settings, reply_to) == (Verb.REPAINT, {"prompt": "drums", "seed": 7}, named(client))


async def test_a_verb_works_on_the_session_as_it_was_when_it_came(client: AsyncOscClient, desk: MemoryDesk) -> None:
    desk.gate.clear()
    client.send_datagram(
        bundle(
            message("/stembridge/region", 1.0, 2.0),
            message("/stembridge/repaint"),
            message("/stembridge/region", 5.0, 6.0),
            message("/stembridge/repaint"),
        )
    )
    assert [m.args for m in await client.until(lambda m: m.args == ("/stembridge/region",))]
    await client.until(lambda m: m.args == ("/stembridge/region",))
    desk.gate.set()
    await client.until(lambda m: m.address == ACK and m.args[0] == "job-2")
    starts = [session.resolve_regions(None)[0].start_s for _, _, session, _ in desk.requests]
    assert starts == [1.0, 5.0]


async def test_the_ack_comes_before_the_first_event_of_its_job(client: AsyncOscClient) -> None:
    client.send("/stembridge/subscribe")
    client.send("/stembridge/repaint", "id", "a")
    heard = await heard_until_ping(client)
    if len(heard) < 3:
        heard += await heard_until_ping(client)
    assert [row[0] for row in heard] == ["ack", "ack", "job/state"]  # and once, though both subscribed and asked


async def test_requests_of_one_client_are_done_in_order_and_a_slow_one_keeps_nobody_else_waiting(
    new_client: NewClient, desk: MemoryDesk
) -> None:
    slow, other = await new_client(), await new_client()
    desk.gate.clear()
    slow.send("/stembridge/repaint", "id", "slow")
    slow.send("/stembridge/cancel", "last")
    assert await answer(other, "/stembridge/jobs") == (ACK, ("/stembridge/jobs",))
    desk.gate.set()
    heard = await slow.until(lambda m: m.args[:2] == ("slow", "cancel"))
    assert [m.args[1] for m in heard if m.address == ACK] == ["repaint", "cancel"]


async def test_jobs_are_listed_newest_first_and_then_acknowledged(client: AsyncOscClient) -> None:
    for identity in ("a", "b", "c"):
        await answer(client, "/stembridge/repaint", "id", identity)
    await heard_until_ping(client)
    replies = await client.ask("/stembridge/jobs", 2)
    assert [m.args for m in replies] == [
        ("c", "queued", "repaint"),
        ("b", "queued", "repaint"),
        ("/stembridge/jobs",),
    ]


async def test_cancel_is_acknowledged_per_job_and_for_none(client: AsyncOscClient) -> None:
    assert await answer(client, "/stembridge/cancel", "all") == (ACK, ("all", "cancel", "sketch", 0))
    for identity in ("a", "b"):
        await answer(client, "/stembridge/repaint", "id", identity)
    assert await answer(client, "/stembridge/cancel", "last") == (ACK, ("b", "cancel", "sketch", 0))
    client.send("/stembridge/cancel", "all")
    heard = await client.until(lambda m: m.args[:2] == ("b", "cancel"))
    assert [m.args[0] for m in heard if m.address == ACK] == ["a", "b"]


async def test_an_error_about_a_job_names_it(client: AsyncOscClient) -> None:
    address, args = await answer(client, "/stembridge/cancel", "nobody")
    assert address == ERROR
    assert (args[0], args[2:]) == ("unknown_job", ("/stembridge/cancel", "nobody"))
    address, args = await answer(client, "/stembridge/retry", "nobody")
    assert (args[0], args[2:]) == ("unknown_job", ("/stembridge/retry", "nobody"))


async def test_a_retry_is_acknowledged_like_the_verb(client: AsyncOscClient) -> None:
    await answer(client, "/stembridge/repaint", "id", "a")
    await heard_until_ping(client)
    assert await answer(client, "/stembridge/retry", "a") == (ACK, ("a", "repaint", "sketch", 3))


async def test_a_mistake_of_ours_is_logged_with_its_traceback_and_answered(
    client: AsyncOscClient, desk: MemoryDesk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.breaks = True
    with caplog.at_level(logging.ERROR, "stembridge.osc"):
        address, args = await answer(client, "/stembridge/tempo", 120)
    assert (address, args[0], args[2]) == (ERROR, "internal", "/stembridge/tempo")
    assert caplog.records[0].exc_info is not None
    desk.breaks = False
    assert await answer(client, "/stembridge/tempo", 120) == (ACK, ("/stembridge/tempo",))


async def test_too_many_waiting_requests_are_refused_as_busy(new_client: NewClient, desk: MemoryDesk) -> None:
    hasty, other = await new_client(), await new_client()
    desk.gate.clear()
    for _ in range(4):
        hasty.send_datagram(bundle(*[message("/stembridge/repaint")] * (MAX_WAITING // 4)))
    hasty.send("/stembridge/repaint", "id", "one-too-many")
    refused = (await hasty.until(lambda m: m.address == ERROR))[-1]
    assert (refused.args[0], refused.args[2]) == ("busy", "/stembridge/repaint")

    all_done = asyncio.Event()
    desk.listen(lambda _: all_done.set() if len(desk.requests) == MAX_WAITING else None)
    desk.gate.set()
    await asyncio.wait_for(all_done.wait(), 5)
    assert (await answer(other, "/stembridge/repaint", "id", "now"))[0] == ACK


# --- REAPER -----------------------------------------------------------------------------------------------------------
async def test_what_reaper_streams_is_followed_and_never_answered(client: AsyncOscClient, desk: MemoryDesk) -> None:
    client.send_datagram(
        bundle(
            single("/tempo/raw", 120.37),
            single("/loop/end/time", 40.5),
            single("/loop/start/time", 32.25),
            single("/play", 1.0),
            single("/time", 33.125),
            single("/track/1/volume", 0.7),
            message("/beat/str", "17.1.00"),
            message("/tempo/raw", "fast"),
            message("/loop/start/time"),
            bundle(single("/time", 1.0), at=1_900_000_000.0),
        )
    )
    assert await heard_until_ping(client) == []
    rows = {row[0]: row[1:3] for row in desk.session.describe(0.0)}
    assert rows == {
        "tempo": ("120.37", "reaper"),
        "region": ("32.25 40.5", "reaper"),
        "playing": ("1", "reaper"),
        "position": ("33.125", "reaper"),
    }


# --- subscriptions and events -----------------------------------------------------------------------------------------
async def test_a_subscriber_hears_what_is_known_at_once_and_then_what_changes(new_client: NewClient) -> None:
    daw, listener = await new_client(), await new_client()
    await answer(daw, "/stembridge/tempo", 120)
    assert await answer(listener, "/stembridge/subscribe") == (ACK, ("/stembridge/subscribe",))
    assert (await heard_until_ping(listener))[0][:3] == ("session/state", "tempo", "120.0")
    await answer(daw, "/stembridge/key", "Am")
    assert [row[:3] for row in await heard_until_ping(listener)] == [("session/state", "key", "A minor")]
    assert await heard_until_ping(daw) == []


async def test_events_go_to_another_port_of_the_subscriber_if_it_asks_so(new_client: NewClient) -> None:
    pad, its_ear, daw = await new_client(), await new_client(), await new_client()
    await answer(daw, "/stembridge/tempo", 120)
    assert await answer(pad, "/stembridge/subscribe", "port", its_ear.port) == (ACK, ("/stembridge/subscribe",))
    assert (await heard_until_ping(its_ear))[0][:3] == ("session/state", "tempo", "120.0")
    await answer(daw, "/stembridge/key", "Am")
    assert [row[:3] for row in await heard_until_ping(its_ear)] == [("session/state", "key", "A minor")]
    assert await heard_until_ping(pad) == []
    await answer(pad, "/stembridge/unsubscribe", "port", its_ear.port)
    await answer(daw, "/stembridge/key", "Bm")
    assert await heard_until_ping(its_ear) == []


async def test_a_flood_of_changes_is_thinned_and_its_last_value_told(
    new_client: NewClient, clock: Clock, desk: MemoryDesk
) -> None:
    daw, listener = await new_client(), await new_client()
    await answer(listener, "/stembridge/subscribe")
    loop = asyncio.get_running_loop()
    began = loop.time()
    for step in range(100):
        await answer(daw, "/stembridge/position", step / 10)
    heard = await listener.until(lambda m: m.args[:2] == ("position", "9.9"))
    assert 2 <= len(heard) <= 2 + (loop.time() - began) / SESSION_INTERVAL_S


async def test_a_subscription_ends_when_its_time_is_up_and_goes_on_when_renewed(
    client: AsyncOscClient, desk: MemoryDesk, clock: Clock
) -> None:
    async def hears() -> bool:
        desk.emit(JobChanged(job_named("a")))
        return ("job/state", "a", "queued", "repaint") in await heard_until_ping(client)

    await answer(client, "/stembridge/subscribe")
    clock.now += 59
    assert await hears()
    await answer(client, "/stembridge/subscribe", "ttl", 90)
    clock.now += 89
    assert await hears()
    clock.now += 1
    assert not await hears()
    await answer(client, "/stembridge/subscribe")
    assert await hears()
    await answer(client, "/stembridge/unsubscribe")
    assert not await hears()


async def test_the_number_of_subscribers_is_limited_and_places_come_free(new_client: NewClient, clock: Clock) -> None:
    for _ in range(MAX_SUBSCRIBERS):
        client = await new_client()
        assert (await answer(client, "/stembridge/subscribe"))[0] == ACK
    late = await new_client()
    assert (await answer(late, "/stembridge/subscribe"))[1][0] == "busy"
    assert (await answer(client, "/stembridge/subscribe"))[0] == ACK
    clock.now += 61
    assert (await answer(late, "/stembridge/subscribe"))[0] == ACK


async def test_only_the_asker_and_subscribers_hear_of_a_job_even_after_a_restart(
    new_client: NewClient, desk: MemoryDesk
) -> None:
    asker, stranger = await new_client(), await new_client()
    job = job_named("from-the-journal", Verb.REPAINT, named(asker), "mailbox:7", "osc:nonsense")
    desk.emit(JobChanged(job))
    assert await heard_until_ping(asker) == [("job/state", "from-the-journal", "queued", "repaint")]
    assert await heard_until_ping(stranger) == []


def a_take(frames: int) -> Take:
    recipe = Recipe(request=job_named("a").request, seed=1, sample_rate=48000, engine="sketch", engine_version="1")
    return Take(
        number=1,
        file="/p/Gesänge ü/a.wav",
        start_s=600.123456789,
        start_frame=1,
        frames=frames,
        sample_rate=48000,
        seed=1,
        score=87.5,
        recipe=recipe,
    )


async def test_takes_and_endings_are_told_in_basic_types(client: AsyncOscClient, desk: MemoryDesk) -> None:
    job = job_named("a", Verb.REPAINT, named(client), state=JobState.RUNNING)
    desk.emit(TakeDelivered(job, a_take(2**33)))
    done = job.model_copy(update={"state": JobState.DONE, "takes": (a_take(1),), "manifest": "/p/manifest.json"})
    desk.emit(JobChanged(done))
    failure = Failure(code="out_of_memory", sentence="Choose a shorter region.")
    desk.emit(JobChanged(job.model_copy(update={"state": JobState.FAILED, "failure": failure})))
    start_s = as_single(600.123456789)
    take = ("job/take", "a", 1, "/p/Gesänge ü/a.wav", pytest.approx(start_s), str(2**33), 48000, 87.5)
    assert await heard_until_ping(client) == [
        take,
        ("job/state", "a", "done", "repaint"),
        ("job/done", "a", 1, "/p/manifest.json"),
        ("job/state", "a", "failed", "repaint"),
        ("error", "out_of_memory", "Choose a shorter region.", "/stembridge/repaint", "a"),
    ]


async def test_a_request_sent_again_is_told_what_has_happened_since(client: AsyncOscClient, desk: MemoryDesk) -> None:
    done = {"state": JobState.DONE, "takes": (a_take(1),), "manifest": "/p/manifest.json"}
    desk.known["a"] = job_named("a").model_copy(update=done)
    client.send("/stembridge/repaint", "id", "a")
    heard = await client.until(lambda m: m.address.endswith("/done"))
    assert [m.address.removeprefix("/stembridge/") for m in heard] == ["ack", "job/take", "job/state", "job/done"]


async def test_full_types_are_for_those_who_ask(client: AsyncOscClient, desk: MemoryDesk) -> None:
    await answer(client, "/stembridge/subscribe", "types", "full")
    desk.emit(TakeDelivered(job_named("a"), a_take(2**33)))
    assert await heard_until_ping(client) == [
        ("job/take", "a", 1, "/p/Gesänge ü/a.wav", 600.123456789, 2**33, 48000, 87.5)
    ]


async def test_progress_is_thinned_but_its_end_is_told(client: AsyncOscClient, desk: MemoryDesk, clock: Clock) -> None:
    job = job_named("a", Verb.REPAINT, named(client), state=JobState.RUNNING)
    for step in range(101):
        desk.emit(JobProgressed(job, Progress(fraction=step / 100)))
        clock.now += 0.01
    fractions = [row[2] for row in await heard_until_ping(client)]
    assert fractions[-1] == 1.0
    assert 10 <= len(fractions) <= 12


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("job/take", ("a", 1, "/p/\udcff\0.wav", 1e300, 2**70, 48000, float("nan"))),
        ("pong", ("1", "sketch", 1, None, b"blob", (1, 2, 3, 4), 2**40, -(2**31), True, "ü")),
    ],
)
def test_basic_means_only_i_f_and_s_whatever_is_sent(name: str, values: tuple[object, ...]) -> None:
    datagram = reply_datagram(name, values)
    tags = datagram[datagram.index(b",") :].split(b"\0")[0]
    assert set(tags) <= set(b",ifs")
    assert decode(datagram)[0].address == f"/stembridge/{name}"


# --- hard times -------------------------------------------------------------------------------------------------------
async def test_after_every_hostile_packet_a_ping_is_answered(client: AsyncOscClient) -> None:
    for packet in KILLERS.values():
        if len(packet) < 65_000:
            client.send_datagram(packet)
        heard = await heard_until_ping(client)
        assert all(row[:2] == ("error", "bad_packet") for row in heard)


async def test_malformed_packets_are_answered_as_far_as_an_allowance_goes_and_logged_once_a_second(
    client: AsyncOscClient, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "stembridge.osc"):
        for _ in range(50):
            client.send_datagram(b"/no OSC")
            client.send("/elsewhere")
        assert len(await heard_until_ping(client)) == 50  # of 100
        assert len(caplog.records) == 1
    clock.now += 1.1
    client.send("/elsewhere")
    assert [row[1] for row in await heard_until_ping(client)] == ["unknown_address"]


async def test_the_answers_of_another_daemon_are_not_answered(client: AsyncOscClient) -> None:
    client.send("/stembridge/error", "unknown_address", "There is no such address.", "/x")
    client.send("/stembridge/ack", "a", "b")
    client.send("#reply", 1)
    assert await heard_until_ping(client) == []


async def test_a_burst_of_twenty_thousand_packets_leaves_the_door_open(new_client: NewClient) -> None:
    flooder, client = await new_client(), await new_client()
    noise = random.Random(7)
    for index in range(20_000):
        good = message("/stembridge/position", index / 100)
        flooder.send_datagram(noise.randbytes(64) if index % 3 == 0 else good)
        if index % 1000 == 0:
            assert (await answer(client, "/stembridge/ping"))[0] == "/stembridge/pong"
    assert (await answer(client, "/stembridge/ping"))[0] == "/stembridge/pong"


async def test_a_client_that_is_gone_disturbs_nobody(new_client: NewClient, desk: MemoryDesk) -> None:
    gone, client = await new_client(), await new_client()
    await answer(gone, "/stembridge/subscribe")
    gone.close()
    for _ in range(3):
        desk.emit(JobChanged(job_named("a")))
        assert (await answer(client, "/stembridge/ping"))[0] == "/stembridge/pong"


def test_the_page_names_the_port_that_is_listened_on() -> None:
    assert f"UDP, port {DEFAULT_OSC_PORT} on {OscConfig().host}" in render()


async def test_a_port_in_use_is_an_error(door: tuple[OscDoor, int], desk: MemoryDesk) -> None:
    with pytest.raises(OSError) as raised:  # noqa: PT011
        await OscDoor(desk, "127.0.0.1", door[1]).start()
    assert raised.value.errno in (errno.EADDRINUSE, errno.EACCES)


async def test_a_closed_door_lets_go_of_its_port_and_of_the_desk(desk: MemoryDesk) -> None:
    door = OscDoor(desk, "127.0.0.1", 0)
    port = await door.start()
    await door.close()
    assert desk.listeners == []
    again = OscDoor(desk, "127.0.0.1", port)
    assert await again.start() == port
    await again.close()


async def test_closing_lets_a_request_that_is_being_journalled_be_answered(desk: MemoryDesk) -> None:
    door = OscDoor(desk, "127.0.0.1", 0)
    client = await AsyncOscClient.open(await door.start())
    desk.gate.clear()
    client.send("/stembridge/repaint", "id", "a")
    await heard_until_ping(client)
    closing = asyncio.create_task(door.close())
    await asyncio.sleep(0)
    desk.gate.set()
    assert (await client.receive()).args == ("a", "repaint", "sketch", 0)
    await closing
    client.close()


# --- time tags --------------------------------------------------------------------------------------------------------
async def test_a_time_tag_in_the_past_means_now(client: AsyncOscClient, wall: Clock) -> None:
    client.send_datagram(bundle(message("/stembridge/tempo", 99), at=wall.now - 1000))
    assert (await client.receive()).args == ("/stembridge/tempo",)


async def test_a_time_tag_ahead_is_kept_without_holding_up_what_comes_after(
    client: AsyncOscClient, wall: Clock, desk: MemoryDesk
) -> None:
    client.send_datagram(bundle(message("/stembridge/repaint", "id", "later"), at=wall.now + 0.2))
    assert await answer(client, "/stembridge/tempo", 99) == (ACK, ("/stembridge/tempo",))
    assert (await client.until(lambda m: m.address == ACK))[-1].args[0] == "later"
    assert desk.requests[0][2].tempo is not None  # the session as it was when its time came


async def test_a_time_tag_too_far_ahead_is_refused(client: AsyncOscClient, wall: Clock) -> None:
    client.send_datagram(bundle(message("/stembridge/tempo", 99), at=wall.now + 61))
    refused = await client.receive()
    assert (refused.args[0], refused.args[2]) == ("bad_timetag", "/stembridge/tempo")


async def test_only_so_many_messages_wait_for_their_time(client: AsyncOscClient, wall: Clock) -> None:
    for _ in range(MAX_SCHEDULED // 32):
        client.send_datagram(bundle(*[message("/stembridge/ping")] * 32, at=wall.now + 59))
    client.send_datagram(bundle(message("/stembridge/tempo", 99), at=wall.now + 59))
    assert (await client.receive()).args[0] == "bad_timetag"


# --- the clients ------------------------------------------------------------------------------------------------------
async def test_the_blocking_client_collects_replies_up_to_the_ack(door: tuple[OscDoor, int]) -> None:
    def talk() -> list[str]:
        with OscClient(door[1]) as client:
            client.ask("/stembridge/tempo", 97.53)
            return [m.address for m in client.ask("/stembridge/session")]

    assert await asyncio.to_thread(talk) == ["/stembridge/session/state", ACK]


def test_the_blocking_client_notices_that_nobody_answers() -> None:
    with OscClient(9) as client:
        assert client.ask("/stembridge/ping", timeout_s=0.05) == []


@pytest.mark.parametrize(
    ("word", "meant"),
    [("7", 7), ("-7", -7), ("7.0", 7.0), ("1e3", 1000.0), ("drums", "drums"), ("", ""), ("1_000", "1_000")]
    + [(word, word) for word in ("nan", "inf", "-infinity", " 7", "٣", "7 8", "0x10")],
)
def test_words_of_the_command_line_become_what_they_look_like(word: str, meant: object) -> None:
    assert argument(word) == meant
    assert type(argument(word)) is type(meant)
