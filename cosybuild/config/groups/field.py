"""The declaration of a setting (a default and a sentence on what it does), and the class of a group's settings."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any


def setting(default: Any, help: str, *, local: bool = False) -> Any:
    """Return a dataclass field with documentation.

    Args:
        default: an immutable value, or a callable without arguments that makes one (a factory).
        help: what the setting does, with its unit.
        local: True if its value is valid on one machine only, such as the path of a file. The value in an imported
            record is not used.
    """
    metadata = {"help": help, "local": local}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def settings_class(owner: Any, name: str) -> type | None:
    """Return the class of the settings that a field of `owner` holds, or None if it holds no settings.

    The field may be optional; its value may also be a sequence of settings.
    """
    hint = typing.get_type_hints(owner).get(name)
    candidates = [one for one in (hint, *typing.get_args(hint)) if isinstance(one, type)]
    return next((one for one in candidates if dataclasses.is_dataclass(one)), None)
