"""The fields of a manifest and the check of their types. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cosybuild.filename import is_plain_name

_DEEPEST = 64
_TEXT, _TEXT_OR_NULL, _OBJECT, _LIST, _BOOL = (str,), (str, type(None)), (dict,), (list,), (bool,)
_KINDS: dict[str, dict[str, tuple[type, ...]]] = {
    "": {
        "model": _OBJECT,
        "interface": (dict, type(None)),
        "built_for": _OBJECT,
        "built_from": _OBJECT,
        "openvino": _OBJECT,
        "profiles": _LIST,
        "deployment": _OBJECT,
        "verified": (bool, type(None)),
        "pending": _LIST,
        "slot": _TEXT,
        "part": _TEXT,
        "voice": _OBJECT,
    },
    "model": {
        "streaming": _BOOL,
        "family": _TEXT,
        "name": _TEXT,
        "weights": _TEXT_OR_NULL,
        "weights_digest": _TEXT_OR_NULL,
        "random_weights": _BOOL,
        "hyperparameters": _OBJECT,
        "inputs": _LIST,
    },
    "built_for": {
        "flavour": _TEXT,
        "version": _TEXT,
        "sm": (int, type(None)),
        "hardware_compatibility": _TEXT,
        "version_compatible": _BOOL,
    },
    "built_from": {"onnx_sha256": _TEXT},
    "openvino": {"version": _TEXT, "precision": _TEXT},
    "deployment": {"service": _TEXT, "built_as": _TEXT, "forced": _LIST, "whole": _BOOL},
    "interface": {"inputs": _LIST, "outputs": _LIST},
}
"""The permitted types of each field, by the object that contains the field; the empty name is the manifest itself.

Fields may be missing, except those in `_NEEDED`.
"""
_NEEDED = {
    "built_for": ("flavour", "version", "sm", "hardware_compatibility", "version_compatible"),
    "openvino": ("version", "precision"),
}


def fault_of_fields(manifest: Mapping[str, Any]) -> str | None:
    """Return a clause about the first field of a manifest that is missing or malformed; None if all are right."""
    if _is_deep(manifest):
        return "it is nested too deeply"
    companions = manifest.get("companions")
    if not isinstance(companions, list):
        return f"companions is {shown(companions)}; a list is expected"
    for where, fact in (("file", manifest.get("file")), *((f"companions[{i}]", c) for i, c in enumerate(companions))):
        if not _is_file_fact(fact):
            return f"{where} is {shown(fact)}; a plain file name, a size and a sha256 are expected"
    for parent, fields in _KINDS.items():
        holder = manifest.get(parent) if parent else manifest
        if holder is None:
            continue
        for name, kinds in fields.items():
            value = holder.get(name)
            where = f"{parent}.{name}" if parent else name
            if name not in holder:
                if name in _NEEDED.get(parent, ()):
                    return f"{where} is missing"
            elif not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                expected = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
                return f"{where} is {shown(value)}; {expected} is expected"
    interface = manifest.get("interface") or {}
    for side in ("inputs", "outputs"):
        for index, port in enumerate(interface.get(side, ())):
            if not _is_port(port):
                return f"interface.{side}[{index}] is {shown(port)}; a name, a dtype and a shape are expected"
    for index, tensor in enumerate(manifest.get("model", {}).get("inputs", ())):
        if not _is_declared(tensor):
            expected = "a name, and for indices a range of two integers"
            return f"model.inputs[{index}] is {shown(tensor)}; {expected}, is expected"
    for where, lines in (
        ("pending", manifest.get("pending", [])),
        ("deployment.forced", manifest.get("deployment", {}).get("forced", [])),
    ):
        if not all(isinstance(line, str) for line in lines):
            return f"{where} is {shown(lines)}; a list of text is expected"
    return None


def _is_file_fact(fact: Any) -> bool:
    if not isinstance(fact, dict):
        return False
    name, size, digest = fact.get("name"), fact.get("size"), fact.get("sha256")
    return (
        isinstance(name, str)
        and is_plain_name(name)
        and isinstance(size, int)
        and not isinstance(size, bool)
        and 0 <= size < 1 << 63
        and isinstance(digest, str)
        and len(digest) == 64
    )


def _is_port(port: Any) -> bool:
    if not isinstance(port, dict):
        return False
    shape = port.get("shape")
    return (
        isinstance(port.get("name"), str)
        and isinstance(port.get("dtype"), str)
        and isinstance(shape, list)
        and all(isinstance(axis, int | str) and not isinstance(axis, bool) for axis in shape)
    )


def _is_declared(tensor: Any) -> bool:
    """Return True if `tensor` is a valid declaration of an input: it has a name and, for indices, a `range`."""
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        return False
    bounds = tensor.get("range", [0, 1])
    return isinstance(bounds, list) and len(bounds) == 2 and all(type(bound) is int for bound in bounds)


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent if isinstance(parent, list) else ())
        ]
    return bool(level)


def shown(value: Any) -> str:
    """Return a value as text for a message: ASCII, one line, cut to about 60 characters."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
