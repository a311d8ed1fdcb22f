"""The description of every setting for people, made from the settings classes: name, values, default and help."""

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
"""The length of the longest default that is shown, in characters."""


@dataclass(frozen=True)
class SettingFacts:
    """The description of one setting.

    Attributes:
        name: the dotted name, with `[i]` for an index and NAME for a name that the user chooses.
        hint: its type.
        default: its value in the composed configuration; the default of its class if its group is switched off.
        help: its documentation, one sentence.
    """

    name: str
    hint: Any
    default: Any
    help: str

    def values(self, mark: Callable[[str], str] = str) -> str:
        """Return the permitted values in words. `mark` formats each literal value, e.g. as code."""
        return values_text(self.hint, mark)

    @property
    def default_text(self) -> str | None:
        """The default as a user types it; None for a mandatory setting, `...` if the text is too long."""
        value = self.default.value if isinstance(self.default, Enum) else self.default
        if value == "???":
            return None
        text = value if isinstance(value, str) else json.dumps(value)
        return text if len(text) <= _LONGEST else "..."


def composed_defaults(root: DictConfig) -> Mapping[str, Any]:
    """Return name -> plain value of each setting and group of a composed configuration, without the `hydra` node."""
    names = [field.name for field in dataclasses.fields(Settings)]
    plain = OmegaConf.to_container(OmegaConf.masked_copy(root, names))
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def root_settings(defaults: Mapping[str, Any]) -> Iterator[SettingFacts]:
    """Yield the settings that belong to no group.

    Args:
        defaults: the result of `composed_defaults`.
    """
    hints = typing.get_type_hints(Settings)
    for field in dataclasses.fields(Settings):
        if _settings_class(hints[field.name]) is None:
            yield SettingFacts(field.name, hints[field.name], defaults[field.name], field.metadata["help"])


def group_settings(group: str, defaults: Mapping[str, Any]) -> Iterator[SettingFacts]:
    """Yield the settings of a group, including nested ones; nothing for a group without settings, such as `sweep`.

    Args:
        group: the name of the group.
        defaults: the result of `composed_defaults`, or an empty mapping for the defaults of the class.
    """
    cls = settings_class(Settings, group)
    if cls is not None:
        yield from _facts(cls, group, defaults.get(group))


def _facts(cls: Any, prefix: str, values: Any) -> Iterator[SettingFacts]:
    """Yield the settings of a settings class.

    Args:
        cls: the class.
        prefix: the dotted name of the class's place in the configuration.
        values: setting -> value in the composed configuration; None if the group is switched off.
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

    Return None for a setting that does not exist, and for a setting that accepts any value.
    """
    hint: Any = Settings
    for step in re.findall(r"[^.\[\]]+", name):
        hint = _inner(hint, step)
    return None if hint is Any else hint


def _inner(hint: Any, step: str) -> Any:
    """Return the type of a field or element of the type `hint`; None if it is not known.

    Args:
        hint: a dataclass, list or mapping, or a union of one of them and None.
        step: the name of the field, if `hint` is a dataclass. It is not used for the elements of a list or mapping.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _inner(arguments[0], step)
    if dataclasses.is_dataclass(hint):
        return typing.get_type_hints(hint).get(step)
    return {tuple: arguments[:1], dict: arguments[1:]}.get(origin or hint, (None,))[0]


def values_text(hint: Any, mark: Callable[[str], str] = str) -> str:
    """Return in words the values that a type permits. `mark` formats each literal value, e.g. as code."""
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
    """Return the path from a list or mapping to its elements, such as `[i]`, and the dataclass of the elements.

    For any other type, return an empty text and None.
    """
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
