"""Exports without the weights, which are attached afterwards. It imports torch only when it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor


@contextmanager
def deferred_weights() -> Iterator[dict[str, Tensor]]:
    """Let exports in this block write empty tensors in place of weights; yield the dict that receives the weights.

    The exporter would build the message, the serialised message and the file's content one after the other, three
    copies of all weights besides the module, and refuses graphs above 2 GiB unless it may write a file for every
    tensor. The argument that leaves the weights out of the message (`defer_weight_export`) does not raise this limit,
    because the size is computed with the weights. So the C++ function under the exporter is given empty tensors of the
    same types, and their shapes are set afterwards. torch is pinned to one minor release, and a test compares the
    result with the plain exporter's.
    """
    import torch

    plain = torch._C.Graph._export_onnx  # type: ignore[attr-defined]  # not in torch's stubs
    weights: dict[str, Tensor] = {}

    def export_onnx(graph: Any, parameters: Mapping[str, Tensor], *others: Any) -> tuple[Any, ...]:
        weights.update(parameters)
        exported: tuple[Any, ...] = plain(graph, {name: t.new_empty(0) for name, t in parameters.items()}, *others)
        return exported

    torch._C.Graph._export_onnx = export_onnx  # type: ignore[attr-defined]  # not in torch's stubs
    try:
        yield weights
    finally:
        torch._C.Graph._export_onnx = plain  # type: ignore[attr-defined]  # not in torch's stubs


def attach_weights(model: ModelProto, weights: dict[str, Tensor]) -> None:
    """Set the shapes and values of the named tensors, in place; `weights` is empty afterwards."""
    import torch

    for tensor in model.graph.initializer:
        values = weights.pop(tensor.name).detach().cpu().contiguous()
        tensor.dims[:] = values.shape
        tensor.raw_data = values.reshape(-1).view(torch.uint8).numpy().tobytes()
    assert not weights, sorted(weights)
