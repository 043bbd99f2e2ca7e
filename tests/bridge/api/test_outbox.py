import asyncio
import base64
import hashlib
import hmac
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from bridge.api.database import Database
from bridge.api.outbox import TRIES, Outbox
from bridge.api.signature import SecretInvalid, signature, signing_key
from bridge.web_client import SafeClient
from tests.support.web_servers import LOOPBACK, falls_silent, served, talking

TASK = "0d6b1c3e-4c0f-4f5e-9d52-0b6a3c1f7a11"
SECRET = "whsec_" + base64.b64encode(b"twenty-four bytes of key").decode()
START = 1_700_000_000.0


class Time:
    """Time of day that stands still until it is moved; timers fire when it passes them."""

    def __init__(self):
        self.now = START
        self.timers = []

    def __call__(self):
        return self.now

    def call_later(self, delay, callback):
        timer = Timer(self, self.now + delay, callback)
        self.timers.append(timer)
        return timer

    def pass_by(self, seconds):
        self.now += seconds
        for timer in [timer for timer in self.timers if timer.when <= self.now]:
            timer.cancel()
            timer.callback()


class Timer:
    def __init__(self, time, when, callback):
        self.time, self.when, self.callback = time, when, callback

    def cancel(self):
        if self in self.time.timers:
            self.time.timers.remove(self)


@asynccontextmanager
async def opened(folder, time, *, secret=SECRET, allow=LOOPBACK):
    """An outbox as the daemon has it: its file, a real client, started and stopped."""
    database = Database(folder / "api.sqlite3")
    client = SafeClient(allow, timeout_s=30, lookup=lambda _: ["127.0.0.1"])
    outbox = Outbox(database, client, secret=secret, now=time, call_later=time.call_later)
    try:
        await outbox.start()
        yield outbox
    finally:
        await outbox.stop()
        await client.close()
        database.close()


async def until(outbox, task=TASK, **wanted):
    """The deliveries of a task once the first is as `wanted`."""
    async with asyncio.timeout(20):
        while True:
            found = await outbox.deliveries(task)
            if found and all(found[0].get(name) == value for name, value in wanted.items()):
                return found


def answers(*statuses):
    """Answers with one status after another, the last for ever."""
    left = list(statuses)

    async def answer(_):
        return web.Response(status=left.pop(0) if len(left) > 1 else left[0])

    return answer


# --- one message ------------------------------------------------------------------------------------------------------
async def test_a_webhook_arrives_signed(tmp_path):
    body = b'{"data":[{"taskUUID":"x"}]}'
    async with served(answers(204)) as server, opened(tmp_path, Time()) as outbox:
        await outbox.put("webhook", TASK, 1, server.url("/hook"), body=body)
        (item,) = await until(outbox, state="delivered")
    (request,) = server.requests
    assert (request.method, request.path, request.content_type) == ("POST", "/hook", "application/json")
    assert await request.read() == body
    identity, stamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    assert stamp == str(int(START))
    expected = hmac.digest(b"twenty-four bytes of key", f"{identity}.{stamp}.".encode() + body, hashlib.sha256)
    assert request.headers["webhook-signature"] == "v1," + base64.b64encode(expected).decode()
    assert item == {
        "kind": "webhook",
        "resultIndex": 1,
        "url": server.url("/hook"),
        "state": "delivered",
        "attempts": 1,
        "status": 204,
        "lastAttempt": "2023-11-14T22:13:20+00:00",
    }


async def test_without_a_secret_nothing_is_signed(tmp_path):
    async with served(answers(200)) as server, opened(tmp_path, Time(), secret="") as outbox:
        await outbox.put("webhook", TASK, 1, server.url(), body=b"{}")
        await until(outbox, state="delivered")
    assert "webhook-signature" not in server.requests[0].headers
    assert "webhook-id" in server.requests[0].headers


async def test_a_body_is_kept_on_the_disk_only_as_long_as_it_may_be_sent(tmp_path):
    time = Time()
    async with served(answers(500, 200)) as server, opened(tmp_path, time) as outbox:

        async def kept():
            query = "SELECT length(body) FROM outbox"
            return (await outbox._database.run(lambda db: db.execute(query).fetchone()))[0]

        await outbox.put("webhook", TASK, 1, server.url(), body=b"{}")
        await until(outbox, attempts=1, state="pending")
        assert await kept() == 2
        time.pass_by(60)
        await until(outbox, state="delivered")
        assert await kept() is None


async def test_a_body_of_megabytes_arrives_as_it_was(tmp_path):
    body = bytes(range(256)) * 12_345
    async with served(answers(200)) as server, opened(tmp_path, Time()) as outbox:
        await outbox.put("webhook", TASK, 1, server.url(), body=body)
        await until(outbox, state="delivered")
    assert await server.requests[0].read() == body


async def test_an_upload_is_the_files_bytes(tmp_path):
    file = tmp_path / "a.flac"
    file.write_bytes(b"fLaC" + bytes(100_000))
    async with served(answers(201)) as server, opened(tmp_path, Time()) as outbox:
        await outbox.put("upload", TASK, 1, server.url("/put?token=1"), file=file, mime="audio/flac")
        await until(outbox, state="delivered")
    (request,) = server.requests
    assert (request.method, request.path_qs, request.content_type) == ("PUT", "/put?token=1", "audio/flac")
    assert await request.read() == file.read_bytes()


async def test_the_same_message_again_is_sent_once(tmp_path):
    async with served(answers(200)) as server, opened(tmp_path, Time()) as outbox:
        await asyncio.gather(*(outbox.put("webhook", TASK, 1, server.url(), body=b"{}") for _ in range(5)))
        await until(outbox, state="delivered")
        await outbox.put("webhook", TASK, 1, server.url(), body=b"{}")
        assert len(await outbox.deliveries(TASK)) == 1
    assert len(server.requests) == 1


def test_a_signature_is_that_of_the_convention():
    key = signing_key("whsec_plJ3nmyCDGBKInavdOK15jsl")
    body = b'{"event_type":"ping","data":{"success":true}}'
    assert (
        signature(key, "msg_loFOjxBNrRLzqYUf", "1731705121", body) == "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="
    )


def test_a_secret_without_the_prefix_is_the_key_itself():
    assert signing_key("Schlüssel") == "Schlüssel".encode()
    assert signing_key("") == b""


@pytest.mark.parametrize("secret", ["whsec_", "whsec_not base64!", "whsec_abc"])
def test_a_secret_that_cannot_be_read_is_refused(secret):
    with pytest.raises(SecretInvalid):
        signing_key(secret)


# --- tries ------------------------------------------------------------------------------------------------------------
async def test_tries_are_doubled_apart_and_ten_in_all(tmp_path):
    time = Time()
    async with served(answers(500)) as server, opened(tmp_path, time) as outbox:
        await outbox.put("webhook", TASK, 1, server.url(), body=b"{}")
        pauses = []
        for tries in range(1, TRIES):
            await until(outbox, attempts=tries, state="pending")
            (timer,) = time.timers
            pauses.append(timer.when - time.now)
            time.pass_by(pauses[-1] - 0.5)
            assert time.timers == [timer]
            time.pass_by(0.5)
        (item,) = await until(outbox, attempts=TRIES)
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 640, 1280]
    assert (item["state"], item["status"], time.timers) == ("failed", 500, [])
    assert "500" in item["message"]
    assert len(server.requests) == TRIES
    assert len({request.headers["webhook-id"] for request in server.requests}) == 1
    stamps = [int(request.headers["webhook-timestamp"]) for request in server.requests]
    assert stamps == sorted(set(stamps))


@pytest.mark.parametrize("status", [302, 307, 400, 404, 408, 429, 503])
async def test_what_is_not_taken_is_tried_again(tmp_path, status):
    time = Time()
    async with served(answers(status, 200)) as server, opened(tmp_path, time) as outbox:
        await outbox.put("webhook", TASK, 1, server.url(), body=b'{"a":1}')
        (item,) = await until(outbox, attempts=1)
        assert (item["status"], item["nextAttempt"]) == (status, "2023-11-14T22:13:25+00:00")
        time.pass_by(5)
        await until(outbox, state="delivered", attempts=2)
    assert await server.requests[1].read() == b'{"a":1}'


async def test_who_is_gone_is_left_alone(tmp_path):
    time = Time()
    async with served(answers(410)) as server, opened(tmp_path, time) as outbox:
        await outbox.put("webhook", TASK, 1, server.url(), body=b"{}")
        (item,) = await until(outbox, state="failed")
    assert (item["status"], item["attempts"], time.timers) == (410, 1, [])


async def test_a_private_address_is_given_up_without_another_try(tmp_path):
    time = Time()
    async with served(answers(200)) as server, opened(tmp_path, time, allow=()) as outbox:
        await outbox.put("webhook", TASK, 1, server.url(), body=b"{}")
        (item,) = await until(outbox, state="failed")
        assert "not on the internet" in item["message"]
    assert (server.requests, time.timers) == ([], [])


@pytest.mark.parametrize("url", ["http://[", "file:///etc/passwd", "http://\ud800/", ""])
async def test_what_is_no_url_is_given_up_now_and_after_a_restart(tmp_path, url):
    async with opened(tmp_path, Time()) as outbox:
        await outbox.stop()
        await outbox.put("webhook", TASK, 1, url, body=b"{}")
    async with opened(tmp_path, Time()) as outbox:
        await until(outbox, state="failed", attempts=1)
        await outbox.put("webhook", "again", 1, url, body=b"{}")
        await until(outbox, "again", state="failed", attempts=1)


async def test_a_file_that_is_gone_is_given_up(tmp_path):
    async with served(answers(200)) as server, opened(tmp_path, Time()) as outbox:
        await outbox.put("upload", TASK, 1, server.url(), file=tmp_path / "gone.wav", mime="audio/wav")
        (item,) = await until(outbox, state="failed")
        assert "cannot be read" in item["message"]
    assert server.requests == []


async def test_nobody_listening_is_tried_again(tmp_path):
    async with served(answers(200)) as server:
        url = server.url()
    async with opened(tmp_path, Time()) as outbox:
        await outbox.put("webhook", TASK, 1, url, body=b"{}")
        (item,) = await until(outbox, attempts=1)
        assert (item["state"], "could not be reached" in item["message"]) == ("pending", True)


# --- over restarts ----------------------------------------------------------------------------------------------------
async def test_the_next_daemon_sends_what_was_left(tmp_path):
    time = Time()
    async with served(answers(503, 200)) as server:
        async with opened(tmp_path, time) as outbox:
            await outbox.put("webhook", TASK, 1, server.url(), body=b'{"a":1}')
            await until(outbox, attempts=1)
        assert time.timers == []
        time.pass_by(3)
        async with opened(tmp_path, time) as outbox:
            (timer,) = time.timers
            assert timer.when - time.now == 2
            time.pass_by(2)
            await until(outbox, state="delivered", attempts=2)
    assert await server.requests[1].read() == b'{"a":1}'


async def test_what_was_under_way_when_the_daemon_ended_is_sent_again_with_its_id(tmp_path):
    time = Time()
    async with talking(falls_silent()) as silent:
        async with opened(tmp_path, time) as outbox:
            await outbox.put("webhook", TASK, 1, silent.url(), body=b"{}")
            await silent.asked.wait()
            assert (await outbox.deliveries(TASK))[0]["attempts"] == 0
        port = silent.port
    async with served(answers(200), port=port) as server, opened(tmp_path, time) as outbox:
        await until(outbox, state="delivered", attempts=1)
        assert server.requests[0].headers["webhook-id"] == f"webhook_{TASK}_1"


async def test_what_is_put_while_stopped_waits_for_the_next_start(tmp_path):
    time = Time()
    async with served(answers(200)) as server:
        async with opened(tmp_path, time) as outbox:
            await outbox.stop()
            await outbox.put("webhook", TASK, 1, server.url(), body=b"{}")
            assert server.requests == []
        async with opened(tmp_path, time) as outbox:
            await until(outbox, state="delivered")


async def test_a_clock_that_was_set_back_keeps_nothing_waiting_for_days(tmp_path):
    time = Time()
    async with served(answers(503, 200)) as server:
        async with opened(tmp_path, time) as outbox:
            await outbox.put("webhook", TASK, 1, server.url(), body=b"{}")
            await until(outbox, attempts=1)
        time.now -= 7 * 86_400
        async with opened(tmp_path, time) as outbox:
            await until(outbox, state="delivered")


# --- many -------------------------------------------------------------------------------------------------------------
async def test_a_slow_target_holds_up_nobody_else(tmp_path):
    async with talking(falls_silent()) as slow, served(answers(200)) as quick, opened(tmp_path, Time()) as outbox:
        for number in range(40):
            await outbox.put("webhook", "slow", number, slow.url(), body=b"{}")
        await slow.asked.wait()
        await outbox.put("webhook", TASK, 1, quick.url(), body=b"{}")
        await until(outbox, state="delivered")
        assert slow.connections == 1


async def test_a_target_hears_one_message_at_a_time_in_order(tmp_path):
    inside, most, heard = 0, 0, []

    async def answer(request):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        heard.append(await request.text())
        await asyncio.sleep(0)
        inside -= 1
        return web.Response()

    async with served(answer) as server, opened(tmp_path, Time()) as outbox:
        for number in range(10):
            await outbox.put("webhook", TASK, number, server.url(f"/{number}"), body=b"%d" % number)
        async with asyncio.timeout(20):
            while any(item["state"] == "pending" for item in await outbox.deliveries(TASK)):
                pass
    assert (most, heard) == (1, [str(number) for number in range(10)])


async def test_no_more_than_sixteen_are_under_way(tmp_path):
    inside, most, full, go = 0, 0, asyncio.Event(), asyncio.Event()

    async def answer(_):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside >= 16:
            full.set()
        await go.wait()
        inside -= 1
        return web.Response()

    async with served(answer) as server, opened(tmp_path, Time()) as outbox:
        for number in range(1, 41):
            await outbox.put("webhook", TASK, number, server.url(host=f"host{number}.example"), body=b"{}")
        await asyncio.wait_for(full.wait(), 20)
        assert len(await outbox.deliveries(TASK)) == 40
        go.set()
        async with asyncio.timeout(20):
            while any(item["state"] == "pending" and not item["attempts"] for item in await outbox.deliveries(TASK)):
                pass
    assert most == 16


async def test_what_is_forgotten_is_not_sent_any_more(tmp_path):
    time = Time()
    async with served(answers(503)) as server, opened(tmp_path, time) as outbox:
        await outbox.put("webhook", TASK, 1, server.url(), body=b"{}")
        await until(outbox, attempts=1)
        await outbox.forget(TASK)
        time.pass_by(5)
        assert await outbox.deliveries(TASK) == []
    assert len(server.requests) == 1


async def test_forgetting_what_is_under_way_ends_it(tmp_path):
    async with talking(falls_silent()) as silent, opened(tmp_path, Time()) as outbox:
        await outbox.put("webhook", TASK, 1, silent.url(), body=b"{}")
        await silent.asked.wait()
        await outbox.forget(TASK)
        await asyncio.wait_for(silent.closed.wait(), 10)
        assert await outbox.deliveries(TASK) == []
