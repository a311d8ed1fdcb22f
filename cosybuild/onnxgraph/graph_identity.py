"""The identity of a model in the metadata of its ONNX graph, which other tools show (`onnx.load(...).metadata_props`).

It identifies an ONNX file whose manifest is lost. It does not prove that the file is verified. Only the manifest says
that, because a statement about the bytes of a file cannot be a part of these bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

from onnx import ModelProto

PREFIX = "cosybuild."


def write_identity(model: ModelProto, identity: Mapping[str, str]) -> None:
    """Add the identity of a model to the metadata of its graph, in place.

    Args:
        model: the graph.
        identity: name -> value; each name gets the prefix `cosybuild.`.
    """
    for name, value in identity.items():
        model.metadata_props.add(key=f"{PREFIX}{name}", value=value)


def read_identity(model: ModelProto) -> dict[str, str]:
    """Return the identity that `write_identity` added to a graph; empty for a graph of another tool."""
    return {
        entry.key.removeprefix(PREFIX): entry.value for entry in model.metadata_props if entry.key.startswith(PREFIX)
    }
