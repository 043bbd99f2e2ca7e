"""What `stembridge doctor` says of the HTTP door."""

from __future__ import annotations

import json
import socket
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from bridge.discovery import LOOPBACK
from bridge.doctor_check import Check
from bridge.web_config import HttpConfig

_ASK_S = 2.0
_LONGEST_ANSWER = 65_536


def check_http(http: HttpConfig) -> Check:
    """Is the HTTP port free, or held by a running Stembridge?"""
    if http.port == "off":
        return Check("HTTP port", "ok", "off: no page, no task API, no OSCQuery")
    if not http.port:
        return Check("HTTP port", "ok", "any free port")
    where = f"{LOOPBACK}:{http.port}/tcp"
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(_ASK_S)
        try:
            probe.connect((LOOPBACK, http.port))
        except OSError:
            return Check("HTTP port", "ok", f"{where} is free")
    name = _who_answers(http.port)
    if name is not None:
        return Check("HTTP port", "ok", f"a running Stembridge answers on http://{LOOPBACK}:{http.port}/ ({name})")
    advice = "End that program, or choose another port with --http-port. OSC works all the same."
    return Check("HTTP port", "warn", f"{where} is taken by another program", advice)


def _who_answers(port: int) -> str | None:
    """The name of the OSCQuery server there, if it is one of ours."""
    try:
        opener = build_opener(ProxyHandler({}))
        with opener.open(f"http://{LOOPBACK}:{port}/?HOST_INFO", timeout=_ASK_S) as answer:
            name = json.loads(answer.read(_LONGEST_ANSWER)).get("NAME")
    except (URLError, OSError, ValueError, AttributeError):
        return None
    return name if isinstance(name, str) and name.startswith("Stembridge") else None
