"""The conversion between the composed DictConfig, frozen settings and plain data; no other module converts them."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar, cast

from omegaconf import MISSING, DictConfig, OmegaConf

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
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    settings = settings_from_plain(cast("Mapping[str, Any]", plain))
    check(settings)
    return settings


def settings_from_plain(plain: Mapping[str, Any]) -> Settings:
    """Return the settings of plain data that the schema has validated, e.g. a run's recorded configuration."""
    return _build(Settings, plain)


def plain_from_settings(settings: Any) -> Any:
    """Return settings as plain JSON data; `settings_from_plain` is the inverse."""
    if dataclasses.is_dataclass(settings):
        return {f.name: plain_from_settings(getattr(settings, f.name)) for f in dataclasses.fields(settings)}
    if isinstance(settings, tuple | list):
        return [plain_from_settings(item) for item in settings]
    if isinstance(settings, dict):
        return {name: plain_from_settings(item) for name, item in settings.items()}
    return getattr(settings, "value", settings)


def _build(cls: type[T], plain: Mapping[str, Any]) -> T:
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # callers pass settings classes only
    unknown = sorted(set(plain) - {f.name for f in fields})
    if unknown:  # `+group.name=...` gets past Hydra's own check
        raise ConfigurationError(
            f"'{unknown[0]}' is not a setting of {_title(cls)}; it has: {', '.join(f.name for f in fields)}.",
            hint="Next: correct the name, or leave it out.",
        )
    for field in fields:
        # OmegaConf does not look for missing values inside lists.
        if plain.get(field.name, field.default) == MISSING:
            raise ConfigurationError(f"{_title(cls)}.{field.name} is mandatory and has no value: {dict(plain)}.")
    return cls(**{f.name: _convert(hints[f.name], plain[f.name]) for f in fields if f.name in plain})


def _title(cls: type) -> str:
    return cls.__name__.removesuffix("Settings").lower() or "the configuration"


def _convert(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if value is None:
        return None
    if origin in (typing.Union, types.UnionType):
        return _convert(arguments[0], value)
    if origin is tuple:
        return tuple(_convert(arguments[0], item) for item in value)
    if origin is dict:
        return {str(name): _convert(arguments[1], item) for name, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return _build(cast(type, hint), value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    return value
