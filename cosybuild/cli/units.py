"""Parsers of ages, sizes and positive numbers on a command line, for the `type=` of argparse."""

from __future__ import annotations

import argparse
import re

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def age(text: str) -> float:
    """Return an age such as `30d`, `12h` or `90m` in seconds.

    Raises:
        argparse.ArgumentTypeError: the text is not an age.
    """
    match = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]+)?)([smhdw])", text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not an age; expected a number and s, m, h, d or w, e.g. 30d")
    return float(match[1]) * _SECONDS[match[2]]


def size(text: str) -> int:
    """Return a size such as `20GB`, `500M` or `1048576` in bytes. The units are decimal: `k` is 1000.

    Raises:
        argparse.ArgumentTypeError: the text is not a size.
    """
    match = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]+)?)\s*([kmgt]?)b?", text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size; expected e.g. 20GB, 500MB or a number of bytes")
    return int(float(match[1]) * _BYTES[match[2]])


def positive(text: str) -> int:
    """Return a whole number of at least 1.

    Raises:
        argparse.ArgumentTypeError: the text is not such a number.
    """
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)
