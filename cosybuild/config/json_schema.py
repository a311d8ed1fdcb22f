"""The JSON schema of the configuration, for editors, derived from the settings classes."""

from __future__ import annotations

import dataclasses
import types
import typing
from enum import Enum
from typing import Any

from cosybuild.config.groups.field import settings_class
from cosybuild.config.settings import Settings
from cosybuild.system.typed_json import to_json

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_LEAVES: dict[Any, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}
_PACKAGE = "An option that starts with `# @package _global_` has the keys of the root configuration."


def json_schema(group: str | None = None) -> dict[str, Any]:
    """Return the JSON schema of the root configuration, or of the option files of one group.

    Args:
        group: a group that has settings, e.g. `trt_profile`; None for the root configuration.

    Raises:
        KeyError: no group with settings has that name.
    """
    cls = Settings if group is None else settings_class(Settings, group)
    if cls is None:
        raise KeyError(group)
    schema = _object(cls)
    schema["properties"] = {"defaults": {"type": "array", "description": "Hydra's defaults list."}} | schema[
        "properties"
    ]
    if group is None:
        # The root file and global options may also set Hydra up.
        schema["properties"]["hydra"] = {"type": "object", "description": "Hydra's own configuration."}
    return {"$schema": DIALECT, "title": f"cosybuild {group or 'configuration'}", "$comment": _PACKAGE, **schema}


def _object(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    properties = {}
    for field in dataclasses.fields(cls):
        described = {**_of(hints[field.name]), "description": field.metadata.get("help", "")}
        if field.default is not dataclasses.MISSING and field.default != "???":
            described["default"] = to_json(field.default)
        properties[field.name] = described
    return {
        "type": "object",
        "description": (cls.__doc__ or "").split("\n\n")[0].strip(),
        "properties": properties,
        "additionalProperties": False,
    }


def _of(hint: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_of(arguments[0]), {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": _of(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of(arguments[1])}
    if dataclasses.is_dataclass(hint):
        return _object(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    if hint in _LEAVES:
        # Hydra interpolates, so text such as ${oc.env:HOME} can stand for any value.
        return {"type": "string"} if hint is str else {"anyOf": [{"type": _LEAVES[hint]}, _INTERPOLATION]}
    return {}  # Any


_INTERPOLATION = {"type": "string", "pattern": r"\$\{"}
