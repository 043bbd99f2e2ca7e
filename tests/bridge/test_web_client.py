import pytest
from aiohttp import web

from bridge.web_client import MAX_REDIRECTS
from bridge.web_guard import WebFailed, WebRefused, is_allowed, networks
from bridge.web_lookup import system_lookup, system_networks
from tests.support.web_servers import (
    OK,
    WAV,
    answer_redirect,
    answer_wav,
    clients,
    fetched,
    names,
    says,
    served,
    talking,
)


@pytest.fixture
async def client():
    async with clients() as make:
        yield make


# --- where to ---------------------------------------------------------------------------------------------------------
async def test_a_file_arrives_whole(client):
    async with served(answer_wav) as server:
        assert await fetched(client(), server.url("/a.wav")) == WAV
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


async def test_the_loopback_is_never_connected_to_unless_named(client):
    async with talking(says(OK + b"\r\nsecret")) as server:
        for host in ("127.0.0.1", "localhost", "private.example", "127.1", "[::ffff:127.0.0.1]"):
            guarded = client(
                (), lookup=names(localhost=[["127.0.0.1"]] * 2, private_example=[["::1", "127.0.0.1"]] * 2)
            )
            for asked in (
                fetched(guarded, server.url(host=host)),
                guarded.post(server.url(host=host), b"{}", {}),
            ):
                with pytest.raises(WebRefused):
                    await asked
    assert server.connections == 0


async def test_a_name_that_changes_its_address_is_judged_by_the_one_that_is_connected_to(client):
    async with (
        served(answer_redirect("/again")) as outer,
        talking(says(OK + b"\r\nsecret"), host="127.0.0.2", port=outer.port) as inner,
    ):
        rebinding = client(("127.0.0.1/32",), lookup=names(evil_example=[["127.0.0.1"], ["127.0.0.2"]]))
        with pytest.raises(WebRefused, match=r"evil\.example is not on the internet"):
            await fetched(rebinding, outer.url(host="evil.example"))
        assert len(outer.requests) == 1
        assert inner.connections == 0


async def test_of_several_addresses_only_the_allowed_ones_are_connected_to(client):
    async with (
        served(answer_wav) as outer,
        talking(says(OK + b"\r\nsecret"), host="127.0.0.2", port=outer.port) as inner,
    ):
        mixed = client(("127.0.0.1/32",), lookup=names(mixed_example=[["127.0.0.2", "::1", "fe80::1%lo", "127.0.0.1"]]))
        assert await fetched(mixed, outer.url(host="mixed.example")) == WAV
        assert inner.connections == 0


async def test_a_socket_is_judged_even_if_the_judge_of_names_erred(client, monkeypatch):
    async with talking(says(OK + b"\r\nsecret")) as server:
        guarded = client(())

        async def erring(host):
            return ["127.0.0.1"]

        monkeypatch.setattr(guarded, "_judged_addresses", erring)
        with pytest.raises(WebRefused):
            await fetched(guarded, server.url(host="private.example"))
        assert server.connections == 0


async def test_a_neighbour_is_refused_by_name_and_by_address(client):
    home = networks(["2a02:8109:1:2::/64"])
    guarded = client((), lookup=names(nas_example=[["2a02:8109:1:2::5"]]), own_networks=lambda: home)
    for host in ("nas.example", "[2a02:8109:1:2::5]"):
        with pytest.raises(WebRefused):
            await fetched(guarded, f"http://{host}:1/")


async def test_the_systems_own_answers_are_understood():
    assert {"127.0.0.1", "::1"} & set(system_lookup("localhost"))
    with pytest.raises(OSError, match="no host name"):
        system_lookup("a" * 64)
    assert not is_allowed(networks(["127.0.0.1"])[0].network_address, own=system_networks())


async def test_an_unknown_name_is_said_to_be_one(client):
    with pytest.raises(WebFailed, match=r"no server named nobody\.example"):
        await fetched(client(), "http://nobody.example/a.wav")


# --- redirects --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "target",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://2130706433/",
        "http://0x7f.1/",
        "//0177.0.0.1/",
        "http://private.example/",
        "http://user:secret@127.0.0.1/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "data:audio/wav;base64,AAAA",
        "http://127.0.0.1\\@example.com/",
        "/a b",
        "http://127.0.0.1:0/",
    ],
)
async def test_a_redirect_is_judged_like_a_url(client, target):
    async with served(answer_redirect(target)) as server:
        guarded = client(("127.0.0.1/32",), lookup=names(private_example=[["192.168.1.1"]]))
        with pytest.raises(WebRefused):
            await fetched(guarded, server.url())
        assert len(server.requests) == 1


async def test_redirects_are_followed_and_counted(client):
    async def count_down(request):
        left = int(request.path.lstrip("/"))
        return web.Response(status=307, headers={"Location": str(left - 1)}) if left else web.Response(body=WAV)

    async with served(count_down) as server:
        assert await fetched(client(), server.url(f"/{MAX_REDIRECTS}")) == WAV
        with pytest.raises(WebRefused, match="more than 5 times"):
            await fetched(client(), server.url(f"/{MAX_REDIRECTS + 1}"))


async def test_a_redirect_may_be_relative_and_long(client):
    async def answer(request):
        return web.Response(body=WAV) if request.query_string else web.Response(status=302, headers={"Location": long})

    long = "a" * 400 + "?sig=" + "b" * 3000
    async with served(answer) as server:
        assert await fetched(client(), server.url("/folder/x")) == WAV
    assert server.requests[1].path_qs == f"/folder/{long}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed_when_something_is_sent(client, status, tmp_path):
    file = tmp_path / "a.wav"
    file.write_bytes(WAV)
    async with served(answer_wav) as target, served(answer_redirect(target.url(), status)) as server:
        assert await client().post(server.url(), b"{}", {}) == status
        assert await client().put(server.url(), file, "audio/wav") == status
        assert target.requests == []


async def test_a_redirect_to_nowhere_is_an_error(client):
    async with talking(says(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n")) as server:
        with pytest.raises(WebFailed, match="nowhere"):
            await fetched(client(), server.url())


# --- what is sent along -----------------------------------------------------------------------------------------------
async def test_no_proxy_password_or_cookie_is_used(client, monkeypatch, tmp_path):
    async def set_cookie(_):
        answer = web.Response(body=b"x")
        answer.set_cookie("session", "1")
        return answer

    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    async with talking(says(OK + b"\r\n")) as proxy, served(set_cookie) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        one = client()
        await fetched(one, server.url())
        await fetched(one, server.url())
        assert proxy.connections == 0
    for request in server.requests:
        assert not {"Cookie", "Authorization", "Referer", "Proxy-Authorization"} & set(request.headers)


async def test_a_webhook_arrives_with_its_headers(client):
    async def answer(_):
        return web.Response(status=202)

    body = b"[" + b"1," * 1_000_000 + b"1]"
    async with served(answer) as server:
        assert await client().post(server.url("/hook"), body, {"webhook-id": "a", "Content-Type": "x/y"}) == 202
    (request,) = server.requests
    assert (request.method, request.path, await request.read()) == ("POST", "/hook", body)
    assert (request.headers["webhook-id"], request.content_type) == ("a", "x/y")
    assert "Transfer-Encoding" not in request.headers


@pytest.mark.parametrize("size", [0, 1, 300_000])
async def test_an_upload_is_the_files_bytes_with_their_length(client, tmp_path, size):
    file = tmp_path / "ü.flac"
    file.write_bytes(WAV[:1] * size)
    async with served(answer_wav) as server:
        assert await client().put(server.url("/put?sig=1"), file, "audio/flac") == 200
    (request,) = server.requests
    assert (request.method, request.path_qs, await request.read()) == ("PUT", "/put?sig=1", file.read_bytes())
    assert (request.content_type, request.headers["Content-Length"]) == ("audio/flac", str(size))


async def test_a_file_that_is_not_there_is_an_error_of_the_file(client, tmp_path):
    with pytest.raises(FileNotFoundError):
        await client().put("http://127.0.0.1:9/", tmp_path / "none.wav", "audio/wav")
