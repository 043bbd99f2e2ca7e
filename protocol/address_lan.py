"""The rows of pairing in the table of OSC addresses (protocol/address_space.py)."""

from __future__ import annotations

from protocol.address_types import Address, Arg, Kind

_SINCE = "seconds ago"

LAN_IN = (
    Address(
        "pair",
        "serve this sender from now on; the only message from elsewhere that is looked at before it has paired",
        (Arg("pin", Kind.ANY, "the six digits that `stembridge pair` and the page show, as text or as a number"),),
    ),
    Address(
        "unpair",
        "serve this sender no longer",
        (
            Arg(
                "address",
                Kind.TEXT,
                "on the daemon's machine: who shall not be served any longer, or all",
                optional=True,
            ),
        ),
    ),
    Address(
        "lan",
        "who on the network is served, and how to pair",
        (Arg("new_pin", Kind.FLAG, "1: make another PIN first", optional=True),),
        answer="lan/state and one lan/paired per controller, then the ack",
        notes="on the daemon's machine only",
    ),
)

LAN_OUT = (
    Address(
        "lan/state",
        "how a controller elsewhere reaches the daemon",
        (
            Arg("enabled", Kind.INTEGER, "1: the network is listened to"),
            Arg("pin", Kind.TEXT, "empty: too many wrong ones came; make another"),
            Arg("addresses", Kind.TEXT, "comma-separated; empty: nobody elsewhere gets through"),
            Arg("osc_port", Kind.INTEGER),
            Arg("http_port", Kind.INTEGER, "0: there is none"),
        ),
    ),
    Address(
        "lan/paired",
        "a controller that is served",
        (
            Arg("address", Kind.TEXT),
            Arg("paired_s", Kind.NUMBER, _SINCE),
            Arg("heard_s", Kind.NUMBER, f"{_SINCE}; -1: never"),
        ),
    ),
)
