"""The schema with which Hydra validates, derived from the frozen settings classes, which declare each field once.

OmegaConf merges into mutable dataclasses only, and has lists where the settings have tuples. So a mutable class is made
here from every settings class. `parse` converts the composed values back to the frozen classes.
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
"""The name of the schema in Hydra's ConfigStore, which is the first entry of the root defaults list."""


def register() -> None:
    """Store the schema in Hydra's ConfigStore, under the name that the root defaults list uses."""
    ConfigStore.instance().store(name=ROOT, node=mutable(Settings), provider="cosybuild")


@cache
def mutable(cls: type) -> type:
    """Return a mutable class with the name (without `Settings`), the fields and the defaults of a settings class."""
    hints = typing.get_type_hints(cls)
    fields = [(f.name, _schema_type(hints[f.name]), _default(f)) for f in dataclasses.fields(cls)]
    twin = dataclasses.make_dataclass(cls.__name__.removesuffix("Settings") or cls.__name__, fields)
    # Launchers pickle the schema. Give the class a name by which pickle finds it: if it were pickled by value, a field
    # without a default would lose the value that marks it.
    twin.__module__, twin.__qualname__ = __name__, f"twins.{twin.__name__}"
    return twins.keep(twin)


class _MutableClasses:
    """A namespace in which pickle finds the mutable classes by name. A missing class is made when it is looked up."""

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


twins = _MutableClasses()


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
    """Return an empty mapping that accepts any key. For a struct, Hydra would require a `+` before each new key."""
    return DictConfig({}, flags={"struct": False})


def _schema_type(hint: Any) -> Any:
    """Return the type `hint` with settings classes replaced by their mutable classes, and tuples by lists."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return list[_schema_type(arguments[0])]  # type: ignore[misc]  # the element type is data here
    if origin is dict:
        return dict[str, _schema_type(arguments[1])]  # type: ignore[misc]  # the element type is data here
    if origin in (typing.Union, types.UnionType):
        return typing.Optional[_schema_type(arguments[0])]  # noqa: UP045  # built from a value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and not issubclass(hint, Enum):
        return mutable(hint)
    return hint
