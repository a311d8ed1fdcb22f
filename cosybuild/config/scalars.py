"""Brackets around single values of settings that are lists: `trt.sm=89` becomes `trt.sm=[89]`."""

from __future__ import annotations

import re
import typing
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from cosybuild.config.setting_facts import hint_of

_KEY = re.compile(r"\+{0,2}[A-Za-z_][\w.]*")


def add_brackets(word: str, *, sweeping: bool = False) -> str:
    """Put brackets around a single value that is given for a setting that holds a list: `trt.sm=89` -> `trt.sm=[89]`.

    Other overrides are returned unchanged.

    Args:
        word: an override that Hydra can parse, `key=value`.
        sweeping: True if the command is a sweep. Values with commas are then the choices of the sweep, and each choice
            that is a single value gets brackets: `a,b` -> `[a],[b]`. Without a sweep, `a,b` stays unchanged.
    """
    key, equals, _ = word.partition("=")
    if not equals or not _KEY.fullmatch(key) or not _is_list(hint_of(key.lstrip("+"))):
        return word
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException:
        return word  # Hydra reports it
    if override.is_sweep_override():
        if not sweeping or not override.is_choice_sweep():
            return word
        texts = list(override.sweep_string_iterator())
    elif isinstance(override.value(), list | dict) or override.value() is None:
        return word
    else:
        texts = [override.get_value_string()]
    if any("${" in text for text in texts):  # an interpolation can stand for a list
        return word
    return f"{key}={','.join(text if text.startswith('[') or text == 'null' else f'[{text}]' for text in texts)}"


def is_sweep(words: Sequence[str]) -> bool:
    """Return True if the words of a command line ask Hydra for a sweep."""
    return any(word in ("-m", "--multirun", "hydra.mode=MULTIRUN") for word in words)


def _is_list(hint: object) -> bool:
    return any(typing.get_origin(one) is tuple for one in (hint, *typing.get_args(hint)))
