"""The declaration of a setting: a default and a sentence on what it does."""

from __future__ import annotations

import dataclasses
from typing import Any


def setting(default: Any, help: str) -> Any:
    """Return a dataclass field with documentation.

    Args:
        default: an immutable value, or a callable without arguments that makes one (a factory).
        help: what the setting does, with its unit.
    """
    if callable(default):
        return dataclasses.field(default_factory=default, metadata={"help": help})
    return dataclasses.field(default=default, metadata={"help": help})
