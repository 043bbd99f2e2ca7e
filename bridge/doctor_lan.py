"""What `stembridge doctor` says of controllers on the network."""

from __future__ import annotations

import ipaddress

from bridge.doctor_check import Check
from bridge.lan import chosen_addresses, in_words, interfaces_here
from bridge.web_config import LanConfig


def check_lan(lan: LanConfig) -> Check:
    """Which addresses the doors listen on for controllers elsewhere."""
    present = interfaces_here()
    if not lan.enabled:
        return Check("network", "ok", f"nobody elsewhere reaches Stembridge; interfaces: {in_words(present)}")
    addresses, missing = chosen_addresses(lan.interfaces, present)
    if missing or not addresses:
        listening = f"listens at {', '.join(addresses)}; " if addresses else ""
        wrong = f"{', '.join(missing)} not found" if missing else "[lan] names no interface"
        return Check("network", "warn", f"{listening}{wrong}", f"Set interfaces to some of: {in_words(present)}.")
    public = [address for address in addresses if ipaddress.ip_address(address).is_global]
    if public:
        advice = "Name the interface of your own network instead: whoever finds this one may try PINs."
        return Check("network", "warn", f"{', '.join(public)} is an address on the internet", advice)
    return Check("network", "ok", f"listens at {', '.join(addresses)}; `stembridge pair` shows the PIN")
