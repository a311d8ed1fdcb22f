"""The quoting of overrides, as a user types them, for Hydra's grammar."""

from __future__ import annotations

import re

_UNQUOTED = re.compile(r"[A-Za-z0-9_\-/%+.*@?|: \t]*")
"""Matches the values that Hydra accepts without quotes."""

_BLANKS = " \t"
"""The white space that Hydra removes around a value. Any other white space is a part of the value."""

_SYNTAX = re.compile(r"""['"\\,\[\]{}()=$]""")
"""Matches a character that has a meaning in Hydra's grammar: for lists, sweeps, interpolations or quoted text."""


def add_quotes(word: str) -> str:
    """Put quotes around the value of `key=value` if Hydra does not accept it without quotes.

    Without quotes, Hydra accepts only some ASCII characters. It refuses a path such as `/home/zoë/model#2`. A value
    with characters of Hydra's syntax stays unchanged, and so does an option such as `--config-dir=DIR`.
    """
    key, equals, value = word.partition("=")
    if not equals or word.startswith("-") or _UNQUOTED.fullmatch(value) or _SYNTAX.search(value):
        return word
    return f"{key}='{value.strip(_BLANKS)}'"
