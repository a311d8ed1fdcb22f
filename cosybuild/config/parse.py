"""The conversion between the composed DictConfig, frozen settings and plain data; no other module converts them."""

from __future__ import annotations

import copy
import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar, cast

from omegaconf import MISSING, DictConfig, OmegaConf

from cosybuild.config.quoting import with_quotes
from cosybuild.config.rules import check
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError

T = TypeVar("T")


def parse(config: DictConfig) -> Settings:
    """Return the settings of a composed configuration, checked for contradictions.

    Args:
        config: the root configuration without the `hydra` node.

    Raises:
        ConfigurationError: two settings contradict each other, or a value is out of its range.
        omegaconf.errors.OmegaConfBaseException: a mandatory value is missing or an interpolation fails.
    """
    return checked_settings(plain_from_config(config))


def plain_from_config(config: DictConfig) -> Mapping[str, Any]:
    """Return a composed configuration as plain data, with every interpolation resolved.

    Raises:
        omegaconf.errors.OmegaConfBaseException: a mandatory value is missing or an interpolation fails.
    """
    return cast("Mapping[str, Any]", OmegaConf.to_container(config, resolve=True, throw_on_missing=True))


def checked_settings(plain: Mapping[str, Any]) -> Settings:
    """Return the settings of plain data, checked for contradictions.

    Raises:
        ConfigurationError: two settings contradict each other, or a value is out of its range.
    """
    settings = settings_from_plain(plain)
    check(settings)
    return settings


def settings_from_plain(plain: Mapping[str, Any]) -> Settings:
    """Return the settings of plain data, such as a recorded configuration.

    Raises:
        ConfigurationError: a setting is unknown, missing or not of its type.
    """
    return _build(Settings, plain, "")


def overridden(plain: Mapping[str, Any], words: Sequence[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a plain configuration with the settings that a person types as `key=value`.

    Returns:
        the configuration, and the dotted names that were given.

    Raises:
        ConfigurationError: a word is no `key=value` of a setting.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import OverrideType

    result: dict[str, Any] = copy.deepcopy(dict(plain))
    names = []
    for override in OverridesParser.create().parse_overrides([with_quotes(word) for word in words]):
        name = override.key_or_group
        if override.type is not OverrideType.CHANGE or override.is_sweep_override() or "/" in name or "@" in name:
            raise ConfigurationError(
                f"'{override.input_line}' is not one setting with one value.",
                hint="Next: give key=value, e.g. model_dir=/models/CosyVoice2-0.5B; no option of a group.",
            )
        *way, last = name.split(".")
        node = result
        for step in way:
            inner = node.get(step)
            node[step] = node = inner if isinstance(inner, dict) else {}
        node[last] = override.value()
        names.append(name)
    return result, tuple(names)


def plain_from_settings(settings: Any) -> Any:
    """Return settings as plain JSON data; `settings_from_plain` is the inverse."""
    if dataclasses.is_dataclass(settings):
        return {f.name: plain_from_settings(getattr(settings, f.name)) for f in dataclasses.fields(settings)}
    if isinstance(settings, tuple | list):
        return [plain_from_settings(item) for item in settings]
    if isinstance(settings, dict):
        return {name: plain_from_settings(item) for name, item in settings.items()}
    return getattr(settings, "value", settings)


def _build(cls: type[T], plain: Any, where: str) -> T:
    if not isinstance(plain, Mapping):
        raise _wrong(where or "the configuration", "a mapping of settings", plain)
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # callers pass settings classes only
    unknown = sorted(set(plain) - {f.name for f in fields}, key=str)
    if unknown:  # `+group.name=...` gets past Hydra's own check
        raise ConfigurationError(
            f"'{unknown[0]}' is not a setting of {_title(cls)}; it has: {', '.join(f.name for f in fields)}.",
            hint="Next: correct the name, or leave it out.",
        )
    for field in fields:
        # OmegaConf does not look for missing values inside lists.
        if plain.get(field.name, field.default) == MISSING:
            raise ConfigurationError(f"{_title(cls)}.{field.name} is mandatory and has no value: {dict(plain)}.")
    prefix = f"{where}." if where else ""
    given = {f.name: f"{prefix}{f.name}" for f in fields if f.name in plain}
    return cls(**{name: _convert(hints[name], plain[name], place) for name, place in given.items()})


def _title(cls: type) -> str:
    return cls.__name__.removesuffix("Settings").lower() or "the configuration"


def _wrong(where: str, expected: str, found: Any) -> ConfigurationError:
    shown = repr(found)
    return ConfigurationError(
        f"{where} should be {expected} and is {shown if len(shown) <= 80 else f'{shown[:80]}…'}.",
        hint="Next: `python -m cosybuild --cfg job` prints every setting with its value.",
    )


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _convert(arguments[0], value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _wrong(where, "a list", value)
        return tuple(_convert(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _wrong(where, "a mapping", value)
        return {str(name): _convert(arguments[1], item, f"{where}.{name}") for name, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return _build(cast(type, hint), value, where)
    if issubclass(hint, Enum):
        try:
            return hint(value)
        except (ValueError, TypeError):
            raise _wrong(where, f"one of {', '.join(str(one.value) for one in hint)}", value) from None
    kinds = (int, float) if hint is float else (hint,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and hint is not bool):
        raise _wrong(where, {str: "text", bool: "true or false", int: "a whole number"}.get(hint, "a number"), value)
    return value
