"""The schema Hydra validates against, derived from the frozen settings so that each field is stated once.

OmegaConf merges into mutable dataclasses only, and knows lists where the settings have tuples; so every
settings class has a mutable twin made here, and `parse` goes the other way.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from enum import Enum
from functools import cache
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from cosybuild.config.settings import Settings

ROOT = "schema"
"""Its name in the ConfigStore; the first entry of the root defaults list."""


def register() -> None:
    """Put the schema where the root configuration's defaults list finds it."""
    ConfigStore.instance().store(name=ROOT, node=mutable(Settings), provider="cosybuild")


@cache
def mutable(cls: type) -> type:
    """The mutable twin of a frozen settings class, with the same name, fields and defaults."""
    hints = typing.get_type_hints(cls)
    fields = [(f.name, _schema_type(hints[f.name]), _default(f)) for f in dataclasses.fields(cls)]
    twin = dataclasses.make_dataclass(cls.__name__.removesuffix("Settings") or cls.__name__, fields)
    # Launchers pickle the schema. By value a class would lose what marks a field as having no default.
    twin.__module__, twin.__qualname__ = __name__, f"twins.{twin.__name__}"
    return twins.keep(twin)


class _Twins:
    """Where pickle finds a mutable twin by its name, in a process that has made none yet."""

    def __init__(self) -> None:
        self._made: dict[str, type] = {}

    def keep(self, twin: type) -> type:
        assert twin.__name__ not in self._made, f"two settings classes would be called {twin.__name__}"
        self._made[twin.__name__] = twin
        return twin

    def __getattr__(self, name: str) -> type:
        mutable(Settings)
        if name not in self._made:
            raise AttributeError(name)
        return self._made[name]


twins = _Twins()


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return dataclasses.field(default=field.default)
    assert field.default_factory is not dataclasses.MISSING, f"{field.name} has no default"
    factory: Any = field.default_factory
    if dataclasses.is_dataclass(factory):
        factory = mutable(typing.cast(type, factory))
    made: dict[Any, Any] = {tuple: list, dict: _mapping}
    return dataclasses.field(default_factory=made.get(factory, factory))


def _mapping() -> DictConfig:
    """An empty mapping whose names are the user's: Hydra would ask for a + before each of them."""
    return DictConfig({}, flags={"struct": False})


def _schema_type(hint: Any) -> Any:
    """`hint` with settings classes replaced by their twins and tuples by lists."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return list[_schema_type(arguments[0])]  # type: ignore[misc]  # the element type is data here
    if origin is dict:
        return dict[str, _schema_type(arguments[1])]  # type: ignore[misc]  # likewise
    if origin in (typing.Union, types.UnionType):
        return typing.Optional[_schema_type(arguments[0])]  # noqa: UP045  # built from a value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and not issubclass(hint, Enum):
        return mutable(hint)
    return hint
