"""What every request passes before a handler sees it, and every answer on its way out.

A daemon on the loopback is within reach of every web page that its user opens. So: the Host must be a name of ours (no
DNS rebinding), an Origin must be ours or one that the configuration names, and the answers let no other page frame or
embed them. The rest keeps one sender from costing the others: a rate, and a size. Who may connect at all is looked at
before, in `bridge.doors.http_gate`, and here again, because a connection outlives a pairing.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from bridge.doors.http_gate import peer_ip
from bridge.doors.http_json import dump_pieces
from bridge.doors.osc_limits import Allowance
from bridge.web_config import HttpConfig
from protocol.api_errors import ApiError

log = logging.getLogger("stembridge.http")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

RETRY_AFTER_S = {429: 1, 503: 5}
"""What an answer with that status tells the client to wait."""

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer, unless its handler says otherwise."""

_PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Range",
    "Access-Control-Allow-Private-Network": "true",
    "Access-Control-Max-Age": "600",
}


class HttpRefused(Exception):
    """A request as a whole was refused."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


class Guard:
    """The checks, and the middleware that makes them. `names` gives the host names that are ours, in lower case."""

    def __init__(
        self,
        config: HttpConfig,
        serves: Callable[[str], bool],
        names: Callable[[], frozenset[str]],
        clock: Callable[[], float],
    ) -> None:
        self._key = config.api_key.encode()
        self._origins = frozenset(config.allowed_origins)
        self._origin_hosts = frozenset(urlsplit(origin).netloc for origin in config.allowed_origins)
        self._max_bytes = int(config.max_body_mb * 1e6)
        self._serves, self._names = serves, names
        self._allowance = Allowance(max(1.0, config.requests_per_s), clock)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        address = peer_ip(request.transport)
        if not self._serves(address):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        try:
            self._check_host(request)
            origin = self._checked_origin(request)
            self.count(address, is_api=request.path.startswith("/v1"))  # what a foreign page asks costs nobody else
        except HttpRefused as refused:
            return refusal(refused.error)
        if request.method == hdrs.METH_OPTIONS and origin is not None:
            return web.Response(status=204, headers=_PREFLIGHT_HEADERS)
        return await self._handled(request, handler)

    async def _handled(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except HttpRefused as refused:
            return refusal(refused.error)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            return _in_our_words(request, error, self._max_bytes)
        except ConnectionError:  # it hung up, which is no fault of ours; nobody reads this
            return web.Response(status=400)
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            message = "Stembridge failed on this request; its log says more (`stembridge doctor` tells where)."
            return refusal(ApiError("internalServerError", message, status=500))

    def count(self, address: str, *, is_api: bool = True) -> None:
        """One more request of that sender; raises `HttpRefused` when it asks too often. What a script asks of the API
        is counted apart from what the page asks for beside it."""
        if not self._allowance((address, is_api)):
            message = "Too many requests in a short time: wait a second ([http] requests_per_s sets how many)."
            raise HttpRefused(ApiError("rateLimitExceeded", message, status=429))

    # --- who asks -----------------------------------------------------------------------------------------------------
    def _check_host(self, request: web.Request) -> None:
        told = request.headers.getall(hdrs.HOST, [])
        if len(told) == 1 and (told[0].lower() in self._origin_hosts or self._is_ours(told[0], request)):
            return
        message = (
            "The Host of this request is not a name of this daemon. Use http://127.0.0.1 and its port; what stands "
            "before it (a proxy, a tunnel) is named in [http] allowed_origins."
        )
        raise HttpRefused(ApiError("invalidHost", message, status=403))

    def _is_ours(self, host: str, request: web.Request) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname, parts.port or 80
        except ValueError:
            return False
        here = request.transport.get_extra_info("sockname") if request.transport is not None else None
        is_plain = parts.netloc == host and "@" not in host  # our addresses in answers begin with it
        if name is None or here is None or not is_plain or port != here[1]:
            return False
        return name.removesuffix(".") in self._names() or name == here[0] or _is_loopback(name)

    def _checked_origin(self, request: web.Request) -> str | None:
        """The Origin of another page that may talk to us; None: our own page, or no page at all."""
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None:  # what a page embeds comes without one, but browsers say that a page asked for it
            if _is_embedded(request):
                raise HttpRefused(_foreign_page())
            return None
        if origin.lower() in self._origins:
            return origin
        if origin.lower() == f"http://{request.headers[hdrs.HOST].lower()}":
            return None
        raise HttpRefused(_foreign_page())

    def knows_key(self, key: str | None) -> bool:
        """Is this the configured key? Any is, or none, where none is configured. Takes the same time for every key."""
        return not self._key or hmac.compare_digest((key or "").encode("utf-8", "replace"), self._key)

    def has_key(self, request: web.Request) -> bool:
        """Does the request's header show the key? Raises `HttpRefused` for a wrong one; False: there is none."""
        told = request.headers.get(hdrs.AUTHORIZATION)
        if told is None:
            return not self._key
        scheme, _, key = told.partition(" ")
        if not self.knows_key(key.strip() if scheme.lower() == "bearer" else None):
            raise HttpRefused(wrong_key())
        return True

    # --- on the way out -----------------------------------------------------------------------------------------------
    async def dress(self, request: web.Request, response: web.StreamResponse) -> None:
        """The ``on_response_prepare`` signal: the headers that every answer has."""
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers[hdrs.SERVER] = "Stembridge"
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and origin.lower() in self._origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
            response.headers.add(hdrs.VARY, hdrs.ORIGIN)


def _is_embedded(request: web.Request) -> bool:
    """Does another page ask for this as a picture, a script and the like? A link that is followed to us is none."""
    site, mode = request.headers.get("Sec-Fetch-Site"), request.headers.get("Sec-Fetch-Mode")
    return site in ("cross-site", "same-site") and mode != "navigate"


def _foreign_page() -> ApiError:
    message = (
        "Web pages of other programs may not talk to Stembridge. If this one shall, name it in [http] allowed_origins."
    )
    return ApiError("invalidOrigin", message, status=403)


def wrong_key() -> ApiError:
    message = "The API key is not the one in this daemon's configuration ([http] api_key)."
    return ApiError("invalidApiKey", message, status=401)


def missing_key() -> ApiError:
    message = (
        "This daemon asks for its API key ([http] api_key): send it as `Authorization: Bearer KEY`, or in an "
        "authentication task before the others."
    )
    return ApiError("missingApiKey", message, status=401)


def refusal(*errors: ApiError) -> web.Response:
    """The answer to a request that came to nothing."""
    _, pieces = dump_pieces({"errors": [error.as_json() for error in errors]})
    return web.Response(
        body=b"".join(pieces), status=errors[0].status, headers=status_headers(errors[0].status), content_type=JSON
    )


JSON = "application/json"


def status_headers(status: int) -> dict[str, str]:
    """What an answer with that status says beside its body."""
    if status == 401:
        return {hdrs.WWW_AUTHENTICATE: "Bearer"}
    return {hdrs.RETRY_AFTER: str(RETRY_AFTER_S[status])} if status in RETRY_AFTER_S else {}


def _in_our_words(request: web.Request, error: web.HTTPException, max_bytes: int) -> web.Response:
    if error.status == 413:
        message = (
            f"The request is larger than {max_bytes / 1e6:g} MB ([http] max_body_mb); send audio by POST /v1/media."
        )
        return refusal(ApiError("invalidRequestSize", message, status=413))
    if error.status in (404, 405):
        message = f"There is no {request.method} {request.path[:100]} here. The task API is POST /v1, the page is /."
        name = "pathNotFound" if error.status == 404 else "methodNotAllowed"
        response = refusal(ApiError(name, message, status=error.status))
    else:
        response = refusal(ApiError("invalidRequest", error.text or error.reason, status=error.status))
    for header in (hdrs.ALLOW, hdrs.CONTENT_RANGE):
        if header in error.headers:
            response.headers[header] = error.headers[header]
    return response


def _is_loopback(name: str) -> bool:
    if name in ("localhost", "localhost."):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
