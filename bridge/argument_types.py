"""What a number on the command line may be."""

from __future__ import annotations

import argparse


def port(text: str) -> int:
    if not 0 <= (number := int(text)) <= 65535:
        raise argparse.ArgumentTypeError("a port is 0 (any free one) to 65535")
    return number


def target_port(text: str) -> int:
    if not (number := port(text)):
        raise argparse.ArgumentTypeError("a port to send to is 1 to 65535")
    return number


def not_negative(text: str) -> float:
    if not (number := float(text)) >= 0:
        raise argparse.ArgumentTypeError("it cannot be negative")
    return number


def count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("a count is 1 or more")
    return number


def port_or_off(text: str) -> int | str:
    return "off" if text == "off" else port(text)
