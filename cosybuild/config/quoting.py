"""The quoting of overrides that a user types, for Hydra's grammar."""

from __future__ import annotations

import re

_UNQUOTED = re.compile(r"[A-Za-z0-9_\-/%+.*@?|: \t]*")
"""Values that Hydra reads without quotes."""

_BLANKS = " \t"
"""White space that Hydra drops around a value; it keeps any other white space as text."""

_SYNTAX = re.compile(r"""['"\\,\[\]{}()=$]""")
"""Characters with a meaning in Hydra's grammar: lists, sweeps, interpolations, quoted text."""


def add_quotes(word: str) -> str:
    """Put quotes around the value of `key=value` where Hydra would refuse it unquoted.

    Hydra reads only some ASCII characters without quotes, so that it refuses a path such as `/home/zoë/model#2`.
    A value with characters of Hydra's syntax stays unchanged, and so does an option such as `--config-dir=DIR`.
    """
    key, equals, value = word.partition("=")
    if not equals or word.startswith("-") or _UNQUOTED.fullmatch(value) or _SYNTAX.search(value):
        return word
    return f"{key}='{value.strip(_BLANKS)}'"
