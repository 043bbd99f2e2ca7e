"""OSCQuery on a real HTTP server: what a controller reads and what it listens to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientWebSocketResponse

from bridge.doors.oscquery import reachable
from protocol.address_space import INCOMING, OUTGOING
from protocol.events import JobChanged, JobProgressed
from protocol.job import Progress
from protocol.music import TempoMap, TempoPoint, TimeSignature
from protocol.vocabulary import JobState
from tests.support.osc import job_named, message
from tests.support.oscquery import Connect, Served, connecting, heard, listen, serving, until_pong


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as served:
        yield served


@pytest.fixture
async def connect(served: Served) -> AsyncIterator[Connect]:
    async with connecting(served) as connect:
        yield connect


@pytest.fixture
async def socket(connect: Connect) -> ClientWebSocketResponse:
    return await connect()


# --- HTTP -------------------------------------------------------------------------------------------------------------
async def test_the_root_shows_every_address_of_the_table(served: Served) -> None:
    tree = await served.get("/")
    for path in (*INCOMING, *OUTGOING):
        node = tree
        for name in path.strip("/").split("/"):
            node = node["CONTENTS"][name]
        assert node["FULL_PATH"] == path
        assert node["TYPE"]


async def test_a_path_shows_its_own_part_of_the_tree(served: Served) -> None:
    whole = await served.get("/")
    assert await served.get("/stembridge/set") == whole["CONTENTS"]["stembridge"]["CONTENTS"]["set"]
    assert (await served.get("/stembridge/set/strength"))["RANGE"] == [{"MIN": 0.0, "MAX": 1.0}]


async def test_a_value_is_what_the_session_holds_at_that_moment(served: Served) -> None:
    assert await served.get("/stembridge/tempo?VALUE") == {}
    served.desk.tell(served.desk.session.told("tempo", 97.53, "daw", 0.0))
    assert await served.get("/stembridge/tempo?VALUE") == {"VALUE": [97.53]}
    assert await served.get("/stembridge/tempo?TYPE&UNIT") == {"TYPE": "f", "UNIT": ["time.bpm"]}


async def test_an_event_can_be_read_again(served: Served) -> None:
    assert await served.get("/stembridge/job/state?VALUE") == {}
    served.desk.emit(JobChanged(job_named("a", state=JobState.RUNNING)))
    assert await served.get("/stembridge/job/state?VALUE") == {"VALUE": ["a", "running", "repaint"]}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/stembridge/repaint?VALUE", 204),
        ("/stembridge?VALUE", 204),
        ("/?VALUE", 204),
        ("/stembridge/repaint?COLOUR", 400),
        ("/stembridge/tempo?CLIPMODE", 400),
        ("/stembridge/nothing", 404),
        ("/stembridge/tempo/map/deeper?VALUE", 404),
    ],
)
async def test_what_cannot_be_answered_has_the_proposals_status(served: Served, path: str, status: int) -> None:
    answered, body = await served.status(path)
    assert answered == status
    assert bool(body) == (status != 204)


async def test_known_attributes_that_say_nothing_there_are_an_empty_object(served: Served) -> None:
    assert await served.get("/stembridge?TYPE") == {}
    assert await served.get("/stembridge/set/prompt?RANGE") == {}


@pytest.mark.parametrize("path", ["/", "/stembridge/tempo", "/no/such/path"])
async def test_host_info_tells_where_osc_and_the_socket_are_on_any_path(served: Served, path: str) -> None:
    info = await served.get(f"{path}?HOST_INFO")
    assert (info["NAME"], info["OSC_IP"], info["OSC_PORT"]) == ("Stembridge on stage", "127.0.0.1", 9240)
    assert (info["OSC_TRANSPORT"], info["WS_IP"]) == ("UDP", "127.0.0.1")
    assert served.url.endswith(f":{info['WS_PORT']}")
    assert all(info["EXTENSIONS"].values())
    assert {"ACCESS", "VALUE", "RANGE", "UNIT", "LISTEN", "PATH_CHANGED"} <= info["EXTENSIONS"].keys()


@pytest.mark.parametrize(
    ("osc_ip", "here", "told"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "::1", "127.0.0.1"),
        ("127.0.0.1", "192.168.1.5", "192.168.1.5"),
        ("0.0.0.0", "192.168.1.5", "192.168.1.5"),
        ("10.0.0.2", "127.0.0.1", "10.0.0.2"),
        ("::1", "fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_osc_is_where_the_asker_can_reach_it(osc_ip: str, here: str, told: str) -> None:
    assert reachable(osc_ip, here) == told


# --- LISTEN -----------------------------------------------------------------------------------------------------------
async def test_a_listener_hears_the_value_there_is_and_every_change(
    served: Served, socket: ClientWebSocketResponse
) -> None:
    served.desk.tell(served.desk.session.told("tempo", 97.5, "daw", 0.0))
    assert await listen(socket, "tempo", "position") == [("tempo", 97.5)]
    served.desk.tell(served.desk.session.told("tempo", 101.25, "daw", 0.0))
    assert await heard(socket) == ("tempo", 101.25)
    served.desk.tell(served.desk.session.told("position_s", 4.5, "daw", 0.0))
    assert await heard(socket) == ("position", 4.5)


async def test_who_listens_to_one_address_hears_no_other_one(served: Served, socket: ClientWebSocketResponse) -> None:
    await listen(socket, "timesig")
    served.desk.tell(served.desk.session.told("tempo", 97.5, "daw", 0.0))
    served.desk.tell(served.desk.session.told("key", None, "daw", 0.0))
    served.desk.emit(JobChanged(job_named("a")))
    served.desk.tell(served.desk.session.told("timesig", TimeSignature(3, 4), "daw", 0.0))
    assert await heard(socket) == ("timesig", 3, 4)


async def test_ignored_is_heard_no_more(served: Served, socket: ClientWebSocketResponse) -> None:
    await listen(socket, "position", "play")
    await listen(socket, "position", command="IGNORE")
    served.desk.tell(served.desk.session.told("position_s", 1.0, "daw", 0.0))
    served.desk.tell(served.desk.session.told("playing", True, "daw", 0.0))
    assert await heard(socket) == ("play", 1)


async def test_many_changes_are_told_as_the_last_one(served: Served, socket: ClientWebSocketResponse) -> None:
    await listen(socket, "position")
    for step in range(500):
        served.desk.tell(served.desk.session.told("position_s", float(step), "daw", 0.0))
    assert await heard(socket) == ("position", 499.0)
    assert await until_pong(socket) == []


async def test_a_setting_is_heard_whoever_sets_it(
    served: Served, socket: ClientWebSocketResponse, connect: Connect
) -> None:
    assert await listen(socket, "set/strength", "set/prompt") == [("set/strength", 0.5), ("set/prompt", "")]
    other = await connect()
    await other.send_bytes(message("/stembridge/set/strength", 0.25))
    assert await heard(other) == ("ack", "/stembridge/set/strength")
    assert await heard(socket) == ("set/strength", 0.25)


async def test_every_state_of_a_job_is_told_but_of_its_progress_the_last(
    served: Served, socket: ClientWebSocketResponse
) -> None:
    await listen(socket, "job/state", "job/progress")
    running = job_named("a", state=JobState.RUNNING)
    served.desk.emit(JobChanged(job_named("a")))
    served.desk.emit(JobChanged(running))
    for step in range(1, 9):
        served.desk.emit(JobProgressed(running, Progress(fraction=step / 8, seconds_left=8.0 - step)))
    served.desk.emit(JobChanged(job_named("a", state=JobState.DONE)))
    assert [await heard(socket) for _ in range(4)] == [
        ("job/state", "a", "queued", "repaint"),
        ("job/state", "a", "running", "repaint"),
        ("job/progress", "a", 1.0, 0.0),
        ("job/state", "a", "done", "repaint"),
    ]


async def test_the_state_of_the_session_is_told_in_words(served: Served, socket: ClientWebSocketResponse) -> None:
    await listen(socket, "session/state")
    served.desk.tell(served.desk.session.told("tempo", 97.53, "daw", 1000.0))
    assert await heard(socket) == ("session/state", "tempo", "97.53", "daw", 0.0)


async def test_a_longer_tempo_map_changes_the_tree(served: Served, socket: ClientWebSocketResponse) -> None:
    two = TempoMap((TempoPoint(0.0, 100.0), TempoPoint(10.0, 120.0)))
    served.desk.tell(served.desk.session.told("tempo", two, "daw", 0.0))
    assert await heard(socket) == ("PATH_CHANGED", "/stembridge/tempo/map")
    assert (await served.get("/stembridge/tempo/map?TYPE"))["TYPE"] == "ffiii" * 2
    served.desk.tell(served.desk.session.told("position_s", 11.0, "daw", 0.0))
    assert await served.get("/stembridge/tempo?VALUE") == {"VALUE": [120.0]}
