"""Export a graph without its weights, and attach the weights afterwards. torch is imported only when this runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor


@contextmanager
def deferred_weights() -> Iterator[dict[str, Tensor]]:
    """Make torch's TorchScript exporter write empty tensors instead of weights in the `with` block.

    Yield a dict that receives the weights of the export by name.

    Without this, the exporter holds three more copies of all weights: the protobuf message, the serialised message and
    the content of the file. It also refuses graphs above 2 GiB, unless it may write one file for each tensor. Its
    argument `defer_weight_export` does not help, because the size is computed with the weights.

    This context manager therefore replaces the C++ function that the exporter calls. The replacement passes empty
    tensors of the same types; `attach_weights` sets their shapes and values later. The function is internal to torch,
    so torch is pinned to one minor release, and a test compares the result with that of the unchanged exporter.
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
    """Set the shapes and the values of a graph's initializers, in place.

    Args:
        model: a graph exported within `deferred_weights`.
        weights: the weights by name, which are removed from the dict to free memory.
    """
    import torch

    for tensor in model.graph.initializer:
        values = weights.pop(tensor.name).detach().cpu().contiguous()
        tensor.dims[:] = values.shape
        tensor.raw_data = values.reshape(-1).view(torch.uint8).numpy().tobytes()
    assert not weights, sorted(weights)
