"""The declaration of a setting: a default and a sentence on what it does."""

from __future__ import annotations

import dataclasses
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
