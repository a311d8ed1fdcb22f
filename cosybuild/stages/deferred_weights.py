"""Keeps the weights out of the TorchScript exporter's way. Imports torch only when it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto


@contextmanager
def deferred_weights() -> Iterator[dict[str, bytes]]:
    """While the block runs, an export writes names in place of weights; the dict then holds their bytes.

    The exporter would build the message, its serialised form and the file's content one after the other,
    three copies of all weights besides the module, and refuses messages above 2 GiB unless it may write a
    file for every tensor. The C++ function under it can leave the weights out (`defer_weight_export`);
    the Python around it never asks it to, so that one argument is set here. torch is pinned to one minor
    release, and a test compares the result with the plain exporter's.
    """
    import torch

    plain = torch._C.Graph._export_onnx  # type: ignore[attr-defined]  # not in torch's stubs
    weights: dict[str, bytes] = {}

    def export_onnx(graph: Any, parameters: Any, opset: Any, axes: Any, _: bool, *others: Any) -> tuple[Any, ...]:
        message, found, external, names = plain(graph, parameters, opset, axes, True, *others)
        weights.update(found)
        return message, {}, external, names

    torch._C.Graph._export_onnx = export_onnx  # type: ignore[attr-defined]  # not in torch's stubs
    try:
        yield weights
    finally:
        torch._C.Graph._export_onnx = plain  # type: ignore[attr-defined]  # not in torch's stubs


def attach_weights(model: ModelProto, weights: dict[str, bytes]) -> None:
    """Put the bytes where the names are, in place; `weights` is empty afterwards."""
    for tensor in model.graph.initializer:
        tensor.raw_data = weights.pop(tensor.name)
    assert not weights, sorted(weights)
