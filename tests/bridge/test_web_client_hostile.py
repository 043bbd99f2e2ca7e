import asyncio
import gzip
import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import aclosing, suppress

import pytest

from bridge import web_client
from bridge.web_client import MAX_REDIRECTS
from bridge.web_guard import WebFailed, WebRefused
from bridge.web_lookup import READ_BYTES, GentleSocket
from tests.support.web_servers import (
    LOOPBACK,
    OK,
    WAV,
    answer_redirect,
    answer_wav,
    clients,
    falls_silent,
    fetched,
    names,
    received,
    says,
    says_for_ever,
    served,
    talking,
)


@pytest.fixture
async def client():
    async with clients() as make:
        yield make


# --- what comes back --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", [201, 204, 206, 304, 400, 401, 404, 410, 500, 503])
async def test_only_ok_is_a_file(client, status):
    async with talking(says(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)) as server:
        with pytest.raises(WebFailed, match=f"answered {status}"):
            await fetched(client(), server.url())


async def test_an_endless_body_ends_at_the_cap(client):
    endless = says_for_ever(OK + b"\r\n", b"x" * 65_536)
    async with talking(endless) as server:
        pieces, error = await received(client(LOOPBACK, 1_000_000), server.url())
        assert len(pieces) <= 1_000_000
        assert "more than 1 MB" in error.sentence
        await asyncio.wait_for(server.closed.wait(), 10)


async def test_an_endless_body_in_chunks_ends_at_the_cap_too(client):
    endless = says_for_ever(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n")
    async with talking(endless) as server:
        with pytest.raises(WebRefused, match="more than 1 MB"):
            await fetched(client(LOOPBACK, 1_000_000), server.url())
        await asyncio.wait_for(server.closed.wait(), 10)


async def test_a_body_of_exactly_the_cap_is_taken(client):
    async with served(answer_wav) as server:
        assert await fetched(client(LOOPBACK, len(WAV)), server.url()) == WAV
        with pytest.raises(WebRefused):
            await fetched(client(LOOPBACK, len(WAV) - 1), server.url())


async def test_a_length_beyond_the_cap_is_refused_before_the_body(client):
    async with talking(falls_silent(OK + b"Content-Length: 99999999999999999\r\n\r\n")) as server:
        with pytest.raises(WebRefused, match="more than"):
            await fetched(client(), server.url())


async def test_a_body_that_ends_before_its_length_is_an_error(client):
    async with talking(says(OK + b"Content-Length: 100\r\n\r\nRIFF")) as server:
        with pytest.raises(WebFailed, match="broke off"):
            await fetched(client(), server.url())


async def test_nothing_beyond_the_stated_length_is_taken(client):
    async with talking(says(OK + b"Content-Length: 4\r\n\r\nRIFF" + b"x" * 100_000)) as server:
        pieces, error = await received(client(), server.url())
        assert pieces == b"RIFF" or error is not None
        assert b"x" not in pieces


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "GZIP", "gzip, gzip"])
async def test_packed_data_is_refused_before_it_could_be_unpacked(client, coding):
    bomb = gzip.compress(b"\0" * 50_000_000)
    head = OK + f"Content-Encoding: {coding}\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    async with talking(says(head, bomb)) as server:
        with pytest.raises(WebRefused, match="packed"):
            await fetched(client(LOOPBACK, 1_000_000), server.url())


@pytest.mark.parametrize(
    "head",
    [
        OK + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n",
        OK + b"a: b\r\n" * 100_000 + b"\r\n",
        b"HTTP/1.1 200 " + b"a" * 1_000_000 + b"\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\nx",
        OK + b"Content-Length: 1\r\nContent-Length: 100\r\n\r\nx",
        OK + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\0" * 1000,
        b"",
    ],
    ids=["long header", "many headers", "long reason", "negative", "two lengths", "bad chunk", "ssh", "zeros", "none"],
)
async def test_what_is_no_http_is_an_error_in_words(client, head):
    async with talking(says(head)) as server:
        with pytest.raises(WebFailed) as error:
            await fetched(client(), server.url())
        assert "127.0.0.1" in error.value.sentence
        assert error.value.sentence.endswith(".")


# --- time -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("head", [b"", OK, OK + b"\r\n", OK + b"Content-Length: 9\r\n\r\nRIFF"])
async def test_a_silent_server_is_left_in_time(client, head):
    async with talking(falls_silent(head)) as server:
        with pytest.raises(WebFailed, match="too long"):
            await fetched(client(LOOPBACK, timeout_s=0.3), server.url())
        await asyncio.wait_for(server.closed.wait(), 10)


async def test_a_server_that_says_nothing_at_all_does_not_get_as_long_as_a_file(client, monkeypatch):
    monkeypatch.setattr(web_client, "_ANSWER_S", 0.2)
    async with talking(falls_silent()) as server, asyncio.timeout(5):
        with pytest.raises(WebFailed, match="too long"):
            await fetched(client(LOOPBACK, timeout_s=300), server.url())


async def test_endless_interim_answers_are_left_in_time(client):
    async with talking(says_for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100)) as server:
        with pytest.raises(WebFailed, match="too long"):
            await fetched(client(LOOPBACK, timeout_s=0.3), server.url())


async def test_the_time_is_that_of_all_redirects_together(client):
    moments = iter(range(0, 1000, 40))
    async with served(answer_redirect("/again")) as server:
        with pytest.raises(WebFailed, match="too long"):
            await fetched(client(LOOPBACK, timeout_s=100, clock=lambda: next(moments)), server.url())
    assert len(server.requests) < MAX_REDIRECTS


async def test_a_drip_is_left_though_it_never_pauses(client):
    minutes = iter(range(0, 100_000, 30))
    async with talking(says_for_ever(OK + b"\r\n", b"x")) as server:
        with pytest.raises(WebFailed, match="too slowly"):
            await fetched(client(LOOPBACK, timeout_s=1e6, clock=lambda: next(minutes)), server.url())


async def test_a_reader_who_takes_his_time_is_not_blamed_on_the_server(client):
    now = [0.0]
    async with served(answer_wav) as server:
        received = b""
        async with aclosing(client(LOOPBACK, timeout_s=1e6, clock=lambda: now[0]).fetch(server.url())) as pieces:
            async for piece in pieces:
                received += piece
                now[0] += 1000.0
    assert received == WAV


async def test_a_name_server_that_hangs_holds_up_neither_the_task_nor_other_work(client):
    free = threading.Event()

    def hang(_):
        free.wait(30)
        return []

    stuck = client(LOOPBACK, timeout_s=0.2, lookup=hang)
    try:
        results = await asyncio.gather(
            *(fetched(stuck, f"http://slow{n}.example/") for n in range(12)), return_exceptions=True
        )
        assert {type(result) for result in results} == {WebFailed}
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "the loop's own threads are free"), 5)
    finally:
        free.set()


def test_one_read_hands_the_loop_little_to_work_on():
    with socket.create_server(("127.0.0.1", 0)) as listening, GentleSocket() as reader:
        reader.connect(listening.getsockname())
        writer, _ = listening.accept()
        with writer:
            writer.sendall(b"x" * 100_000)
            assert len(reader.recv(262_144)) <= READ_BYTES
            assert reader.recv_into(bytearray(262_144)) <= READ_BYTES


async def test_a_receiver_that_answers_before_the_body_is_through_is_heard(client):
    async with talking(says(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")) as server:
        with suppress(WebFailed):  # where the connection was reset before the answer was read: as good an error
            assert await client().post(server.url(), b"x" * 5_000_000, {}) == 413


async def test_a_receivers_endless_answer_is_not_read(client):
    async with talking(says_for_ever(OK + b"\r\n", b"x" * 65_536)) as server:
        assert await client().post(server.url(), b"{}", {}) == 200
        await asyncio.wait_for(server.closed.wait(), 10)


async def test_who_stops_early_hangs_up(client):
    async with talking(says_for_ever(OK + b"\r\n", b"x" * 65_536)) as server:
        async with aclosing(client().fetch(server.url())) as pieces:
            assert await anext(pieces)
        await asyncio.wait_for(server.closed.wait(), 10)


async def test_nobody_listening_is_said_in_words(client):
    async with talking(says(b"")) as server:
        url = server.url()
    with pytest.raises(WebFailed, match="could not be reached"):
        await fetched(client(), url)


async def test_close_ends_what_is_under_way(client):
    one = client()
    async with talking(falls_silent(OK + b"\r\n")) as server:
        task = asyncio.create_task(fetched(one, server.url()))
        await server.asked.wait()
        await one.close()
        with pytest.raises(WebFailed):
            await task


async def test_nothing_is_asked_after_the_end(client):
    one = client()
    async with served(answer_wav) as server:
        await fetched(one, server.url())
        await one.close()
        with pytest.raises(WebFailed, match="ending"):
            await fetched(one, server.url())


# --- TLS --------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A key and a certificate of localhost, signed by itself."""
    if not (openssl := shutil.which("openssl")):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names_ = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([openssl, *command.split(), *names_], cwd=folder, check=True, capture_output=True, timeout=30)
    return folder


async def test_a_server_must_prove_who_it_is(client, certificate, monkeypatch):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    lookup = names(localhost=[["127.0.0.1"]] * 2, other_example=[["127.0.0.1"]])
    async with served(answer_wav, tls=context) as server:
        with pytest.raises(WebFailed, match="prove who it is"):
            await fetched(client(lookup=lookup), f"https://localhost:{server.port}/")
        trusting = ssl.create_default_context(cafile=certificate / "cert.pem")
        monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting)
        assert await fetched(client(lookup=lookup), f"https://localhost:{server.port}/") == WAV
        with pytest.raises(WebFailed, match="prove who it is"):
            await fetched(client(lookup=lookup), f"https://other.example:{server.port}/")
    assert len(server.requests) == 1
