"""A network on the loopback: addresses of it that play machines elsewhere."""

from __future__ import annotations

import sys

import pytest

from bridge.pairing import Pairing

aliases = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.5 can be bound on Linux only")
HERE, CONTROLLER, OTHER = "127.0.0.1", "127.0.0.5", "127.0.0.6"
"""This machine, and two more."""


class Elsewhere(Pairing):
    """For whom 127.0.0.1 alone is this machine."""

    def is_here(self, ip: str) -> bool:
        return ip == HERE
