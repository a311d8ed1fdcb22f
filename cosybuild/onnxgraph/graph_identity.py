"""The identity of a model in the metadata of its graph, which other tools show (`onnx.load(...).metadata_props`).

It tells what a file is that has lost its manifest. It is no proof: the verdict on a file concerns its bytes, metadata
included, so it cannot be part of them and stands in the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping

from onnx import ModelProto

PREFIX = "cosybuild."


def write_identity(model: ModelProto, identity: Mapping[str, str]) -> None:
    """Add the identity to the metadata of a graph, in place.

    Args:
        identity: name -> value; the prefix is added to the names.
    """
    for name, value in identity.items():
        model.metadata_props.add(key=f"{PREFIX}{name}", value=value)


def read_identity(model: ModelProto) -> dict[str, str]:
    """Return what `write_identity` has written; empty for a graph of another tool."""
    return {
        entry.key.removeprefix(PREFIX): entry.value for entry in model.metadata_props if entry.key.startswith(PREFIX)
    }
