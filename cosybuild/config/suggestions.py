"""Errors for names and values that the configuration does not have. They suggest the most similar valid one."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import types
import typing
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import ValidationError

from cosybuild.config.groups.field import settings_class
from cosybuild.config.setting_facts import hint_of, values_text
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError

_FEW = 3
"""The largest number of settings that an error suggests. If more settings have the name, none is suggested."""

_UNKNOWN_OPTION = re.compile(
    r"Could not find '(?P<path>[^']+)'\s+Available options in '(?P<group>[^']+)':(?P<known>.*)", re.S
)
_MERGED = re.compile(r"Error merging override (?P<key>[^=\s]+)=(?P<value>.*)")
_SEVERAL_VALUES = re.compile(r"Ambiguous value for argument '(?P<key>[^=']+)=(?P<values>.*)'")


def refused_value(error: BaseException, origin: BaseException) -> ConfigurationError | None:
    """Return the error for a value that Hydra or OmegaConf does not accept; None for any other error.

    Args:
        error: Hydra's error.
        origin: the error of OmegaConf or Hydra that caused it; `error` itself if there is none.
    """
    text = str(error)
    if isinstance(origin, ValidationError):
        if origin.full_key:
            return _wrong_value(str(origin.full_key), getattr(origin, "value", None))
        if found := _MERGED.match(text):
            return _wrong_value(found["key"], found["value"])
    if isinstance(error, HydraException) and (found := _UNKNOWN_OPTION.search(text)):
        return _unknown_option(found["group"], found["path"], found["known"].split("Config search path:")[0].split())
    if found := _SEVERAL_VALUES.search(text):
        return _several_values(found["key"], found["values"])
    return None


def suggestion(full_key: str, known: Sequence[str], value: str | None = None) -> str:
    """Return a text such as ` Did you mean export.opset?` for an unknown setting; empty if no setting is similar.

    The search has three steps, and the first setting that is found is suggested: a similar name in the same group; the
    same name in another group; a similar name in another group.

    Args:
        full_key: the dotted name as it was given.
        known: the names of the settings in the group that `full_key` names.
        value: the value that was given, which the suggestion repeats; None for no value.
    """
    group, _, key = full_key.rpartition(".")
    given = "" if value is None else f"={value}"
    if near := difflib.get_close_matches(key, known, n=1):
        return f" Did you mean {f'{group}.' if group else ''}{near[0]}{given}?"
    names = list(_leaves(Settings))
    same = [name for name in names if name.rpartition(".")[2] == key]
    if not same:
        close = difflib.get_close_matches(key, {name.rpartition(".")[2] for name in names}, n=1)
        same = [name for name in names if close and name.rpartition(".")[2] == close[0]]
    if not 0 < len(same) <= _FEW:
        return ""
    return f" Did you mean {' or '.join(f'{name}{given}' for name in same)}?"


def _wrong_value(key: str, value: Any) -> ConfigurationError:
    hint, shown = hint_of(key), value if isinstance(value, str) else json.dumps(value, default=str)
    name = re.sub(r"\[.*", "", key)
    inner = next((one for one in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(one)), None)
    if inner is not None:
        fields = ", ".join(f"{key}.{field.name}" for field in dataclasses.fields(inner))
        expected = f"it has settings of its own: {fields}"
    else:
        expected = f"expected {_expected(hint)}"
    near = difflib.get_close_matches(shown.lower(), list(_literals(hint)), n=1)
    return ConfigurationError(
        f"{key}={shown} is not a permitted value; {expected}.{f' Did you mean {key}={near[0]}?' if near else ''}",
        hint=f"Next: correct the value; `python -m cosybuild options {name}` describes the setting.",
    )


def _expected(hint: Any) -> str:
    text = "another value" if hint is None else values_text(hint)
    if text.startswith(("whole number", "number", "list")):
        return f"a {text}"
    return f"one of {text}" if typing.get_origin(hint) is None and list(_literals(hint)) else text


def _unknown_option(group: str, path: str, known: Sequence[str]) -> ConfigurationError:
    name = path.removeprefix(f"{group}/")
    near = difflib.get_close_matches(name, known, n=1)
    top, _, below = group.partition("/")
    prefix = f"{below}/" if below else ""
    return ConfigurationError(
        f"{top}={prefix}{name}: the group '{group}' has no option '{name}'."
        f"{f' Did you mean {top}={prefix}{near[0]}?' if near else ''} It has: {', '.join(known)}.",
        hint=f"Next: choose one of them; `python -m cosybuild options {top}` describes each.",
    )


def _several_values(key: str, values: str) -> ConfigurationError:
    is_list = typing.get_origin(_without_none(hint_of(key))) is tuple
    as_list = f"{key}=[{values}] for a list, or " if is_list else ""
    return ConfigurationError(
        f"{key}={values} has several values, and a single build takes one.",
        hint=f"Next: {as_list}`-m {key}={values}` for a sweep, which builds each of them.",
    )


def _leaves(cls: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every setting. A list or mapping of settings counts as one setting."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        inner = settings_class(cls, field.name)
        if inner is None or typing.get_origin(hints[field.name]) in (tuple, dict):
            yield f"{prefix}{field.name}"
        else:
            yield from _leaves(inner, f"{prefix}{field.name}.")


def _literals(hint: Any) -> Iterator[str]:
    """Yield the values that a type permits if it is an enum or a bool, also within a union or list."""
    for one in (hint, *typing.get_args(hint)):
        if isinstance(one, type) and issubclass(one, Enum):
            yield from (str(member.value) for member in one)
        elif one is bool:
            yield from ("true", "false")


def _without_none(hint: Any) -> Any:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint)[0] if union else hint
