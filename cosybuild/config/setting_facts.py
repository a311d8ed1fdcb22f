"""The facts of every setting for people: name, permitted values, default and sentence, from the typed settings."""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cosybuild.config.groups.field import settings_class
from cosybuild.config.settings import Settings
from cosybuild.system.typed_json import to_json

_WORDS: dict[Any, str] = {str: "text", int: "whole number", float: "number"}
_PLURALS: dict[Any, str] = {str: "texts", int: "whole numbers", float: "numbers"}
_LONGEST = 40
"""The longest default that is shown, in characters."""


@dataclass(frozen=True)
class SettingFacts:
    """One setting.

    Attributes:
        name: the dotted name, with `[i]` for an index and NAME for a name that the user chooses.
        hint: its type.
        default: its value in the composed configuration, or of its class if the group is off.
        help: its sentence.
    """

    name: str
    hint: Any
    default: Any
    help: str

    def values(self, mark: Callable[[str], str] = str) -> str:
        """Return the permitted values in words; `mark` is called on each literal value."""
        return values_text(self.hint, mark)

    @property
    def default_text(self) -> str | None:
        """The default as a user types it; None if there is none, `...` if it is too long."""
        value = self.default.value if isinstance(self.default, Enum) else self.default
        if value == "???":
            return None
        text = value if isinstance(value, str) else json.dumps(value)
        return text if len(text) <= _LONGEST else "..."


def composed_defaults(root: DictConfig) -> Mapping[str, Any]:
    """Return setting or group -> plain value of a composed configuration, without Hydra's part."""
    names = [field.name for field in dataclasses.fields(Settings)]
    plain = OmegaConf.to_container(OmegaConf.masked_copy(root, names))
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def root_settings(defaults: Mapping[str, Any]) -> Iterator[SettingFacts]:
    """Yield the settings that are in no group."""
    hints = typing.get_type_hints(Settings)
    for field in dataclasses.fields(Settings):
        if _settings_class(hints[field.name]) is None:
            yield SettingFacts(field.name, hints[field.name], defaults[field.name], field.metadata["help"])


def group_settings(group: str, defaults: Mapping[str, Any]) -> Iterator[SettingFacts]:
    """Yield the settings of a group, nested settings included; none for a group such as `sweep`."""
    cls = settings_class(Settings, group)
    if cls is not None:
        yield from _facts(cls, group, defaults.get(group))


def _facts(cls: Any, prefix: str, values: Any) -> Iterator[SettingFacts]:
    """Yield the settings of a class.

    Args:
        values: setting -> value in the composed configuration; None where the group is off.
    """
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        hint, name = hints[field.name], f"{prefix}.{field.name}"
        value = values[field.name] if isinstance(values, dict) else _default(field)
        nested = _settings_class(hint)
        if nested is not None:
            yield from _facts(nested, name, value if isinstance(value, dict) else None)
            continue
        yield SettingFacts(name, hint, value, field.metadata["help"])
        path, element = _element(hint)
        if element is not None:
            yield from _facts(element, f"{name}{path}", None)


def hint_of(name: str) -> Any:
    """Return the type of the setting with a dotted name such as `trt.sm`, `trt.sm[0]` or `export.static.batch`.

    None stands for a setting that does not exist, and for one that takes any value.
    """
    hint: Any = Settings
    for step in re.findall(r"[^.\[\]]+", name):
        hint = _inner(hint, step)
    return None if hint is Any else hint


def _inner(hint: Any, step: str) -> Any:
    """Return the type that is one level inside another type; None if it is not known.

    Args:
        hint: a dataclass, list or mapping, or one of them or None.
        step: the name of the field if `hint` is a dataclass; not used for the elements of a list or mapping.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _inner(arguments[0], step)
    if dataclasses.is_dataclass(hint):
        return typing.get_type_hints(hint).get(step)
    return {tuple: arguments[:1], dict: arguments[1:]}.get(origin or hint, (None,))[0]


def values_text(hint: Any, mark: Callable[[str], str] = str) -> str:
    """Return the values that a type permits, in words; `mark` is called on each literal value."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return f"{values_text(arguments[0], mark)} or null"
    if origin is tuple:
        return f"list of {_PLURALS.get(arguments[0]) or values_text(arguments[0], mark)}"
    if origin is dict:
        return f"name: {values_text(arguments[1], mark)}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(mark(str(member.value)) for member in hint)
    if dataclasses.is_dataclass(hint):
        return "settings as below"
    return f"{mark('true')}, {mark('false')}" if hint is bool else _WORDS.get(hint, "any")


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return to_json(field.default)
    assert field.default_factory is not dataclasses.MISSING
    return to_json(field.default_factory())


def _settings_class(hint: Any) -> Any:
    """Return the dataclass that a type names, as `X` or as `X | None`; None for a type without a dataclass."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    candidates = (hint, *(typing.get_args(hint) if union else ()))
    return next((c for c in candidates if dataclasses.is_dataclass(c)), None)


def _element(hint: Any) -> tuple[str, Any]:
    """Return the path of an element of a list or mapping of settings, and its dataclass."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return "", hint
    if origin is tuple:
        path, element = _element(arguments[0])
        return f"[i]{path}", element
    if origin is dict:
        path, element = _element(arguments[1])
        return f".NAME{path}", element
    return "", None
