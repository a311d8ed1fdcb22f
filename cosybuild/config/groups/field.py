"""The declaration of a setting, with its default and its documentation, and the search for the class of a group."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any


def setting(default: Any, help: str, *, local: bool = False) -> Any:
    """Return a dataclass field with documentation.

    Args:
        default: an immutable value, or a callable without arguments that returns the default (a factory).
        help: a sentence on what the setting does, with its unit.
        local: True if a value is valid on one machine only, such as the path of a file. The value in the record of an
            imported run is then not used.
    """
    metadata = {"help": help, "local": local}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def settings_class(owner: Any, name: str) -> type | None:
    """Return the settings class in the type of a field, such as `TrtSettings` in `TrtSettings | None`.

    The type may also be a sequence or mapping of settings. Return None if it has no settings class.

    Args:
        owner: the dataclass with the field.
        name: the name of the field.
    """
    hint = typing.get_type_hints(owner).get(name)
    candidates = [one for one in (hint, *typing.get_args(hint)) if isinstance(one, type)]
    return next((one for one in candidates if dataclasses.is_dataclass(one)), None)
