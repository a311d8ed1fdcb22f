"""The faults that planted_faults.py plants, each at the place where it would arise, with the expected gate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from onnx import ModelProto, TensorProto, numpy_helper
from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator import mask
from cosybuild.models.cosyvoice.estimator.dit import RotaryFrequencies
from cosybuild.models.load import load_module

Planting = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Fault:
    """A fault, and the gate that should find it.

    Attributes:
        name: the name in the table.
        planted: the change and its place.
        model: e.g. `cosyvoice2`.
        gate: `hop export`, `hop simplify`, `hop lowered`, `solver`, or a property of the contract.
        names: a text that the failure's message must contain.
        exporting: context that is active while the module is made and exported.
        spoil: function that changes the simplified graph.
        schedule: the schedule of the artifact's solver instead of the model directory's.
        lowered: True if the graph is lowered to fp16 without the check of ranges.
    """

    name: str
    planted: str
    model: str
    gate: str
    names: str
    streaming: bool = False
    dynamic_batch: bool = False
    exporting: Planting = nullcontext
    spoil: Callable[[ModelProto], None] | None = None
    schedule: str | None = None
    lowered: bool = False

    @property
    def in_export(self) -> bool:
        """Return True if the exported graph already has the fault."""
        return self.exporting is not nullcontext


class Wrapped(nn.Module):
    """An estimator between two functions of its inputs."""

    def __init__(self, inner: nn.Module, before: Callable[..., Any], after: Callable[..., Tensor]) -> None:
        super().__init__()
        self.estimator = inner
        self.before, self.after = before, after

    def forward(self, x: Tensor, mask: Tensor, mu: Tensor, t: Tensor, spks: Tensor, cond: Tensor) -> Tensor:
        """As the estimator's."""
        given = (x, mask, mu, t, spks, cond)
        return self.after(self.estimator(*self.before(*given)), x)


class HalfSplitRotary(RotaryFrequencies):
    """A rotary embedding whose pairs are half a head apart, as in most language models."""

    def forward(self, length: int, offset: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As the right one's."""
        position = torch.arange(length) if offset is None else torch.arange(length) + offset
        angle = position.unsqueeze(1) * self.inv_freq.repeat(2)
        return angle.cos(), angle.sin() * self.sign.sort().values


def changed(change: Callable[[nn.Module], nn.Module | None]) -> Planting:
    """Return a fault that changes the exported module; another module computes the reference."""

    def plant() -> AbstractContextManager[Any]:
        def load(*given: Any) -> nn.Module:
            module = load_module(*given)
            return (change(module) or module).eval()

        return patch("cosybuild.models.load.load_module", load)

    return plant


def wrapped(before: Callable[..., Any] = lambda *given: given, after: Any = lambda velocity, x: velocity) -> Planting:
    return changed(lambda module: Wrapped(module, before, after))


def _rope(module: nn.Module) -> None:
    estimator: Any = module.estimator
    right = estimator.rotary_embed
    estimator.rotary_embed = HalfSplitRotary(2 * len(right.inv_freq))
    for part in module.modules():
        if hasattr(part, "swap"):
            count = len(part.swap)  # type: ignore[arg-type]  # a buffer
            part.swap = (torch.arange(count) + count // 2) % count


@contextmanager
def _one_chunk_more() -> Iterator[None]:
    def visibility(length: int, chunk: int, like: Tensor) -> Tensor:
        index = torch.div(torch.arange(length), chunk, rounding_mode="floor")
        return (index.unsqueeze(0) <= index.unsqueeze(1) + 1).to(like.dtype)

    with patch.object(mask, "chunk_visibility", visibility):
        yield


def _gelu(module: nn.Module) -> None:
    for part in module.modules():
        if hasattr(part, "approximate"):
            part.approximate = "tanh"


def _epsilon(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.LayerNorm):
            part.eps = 1e-5


@torch.no_grad()
def _overflow(module: nn.Module) -> None:
    """Scale the values of one layer's attention up and its output layer down, which has no effect in fp32."""
    estimator: Any = module.estimator
    attention = estimator.mid_blocks[-1][1][0].attn1
    attention.to_v.weight *= 1e6
    attention.to_out[0].weight /= 1e6


def _set(tensor: TensorProto, values: Any) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))


def _read(model: ModelProto, op: str, position: int) -> list[TensorProto]:
    """Return the constants that nodes of a kind read at a position, in the graph's order."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == op and len(node.input) > position]
    return [constants[node.input[position]] for node in nodes if node.input[position] in constants]


def _transpose(model: ModelProto) -> None:
    weights = [*_read(model, "MatMul", 1), *_read(model, "Gemm", 1)]
    tensor = next(t for t in weights if len(t.dims) == 2 and t.dims[0] == t.dims[1])
    _set(tensor, numpy_helper.to_array(tensor).T)


def _drop_bias(model: ModelProto) -> None:
    biases = _read(model, "Gemm", 2)
    tensor = biases[len(biases) // 2]
    _set(tensor, 0 * numpy_helper.to_array(tensor))


def _swapped(x: Tensor, mask: Tensor, mu: Tensor, t: Tensor, spks: Tensor, cond: Tensor) -> tuple[Tensor, ...]:
    return x, mask, cond, t, spks, mu


def _one_speaker(x: Tensor, mask: Tensor, mu: Tensor, t: Tensor, spks: Tensor, cond: Tensor) -> tuple[Tensor, ...]:
    return x, mask, mu, t, spks[:1].expand(spks.shape[0], -1), cond


def _traced_batch(velocity: Tensor, x: Tensor) -> Tensor:
    return velocity[: len(x.tolist())]


def _traced_length(velocity: Tensor, x: Tensor) -> Tensor:
    return velocity[:, :, : len(x[0, 0].tolist())]


V1, V2, V3 = "cosyvoice1", "cosyvoice2", "cosyvoice3"
EXPORT, SIMPLIFY = "the hop with the fault is export", "the hop with the fault is simplify"

FAULTS = (
    Fault("wrong rope", "pairs half a head apart in the exported module", V3, "hop export", EXPORT,
          exporting=changed(_rope)),
    Fault("mask off by one chunk", "`<=` one chunk further in the exported module", V2, "future_chunks",
          "property future_chunks (", streaming=True, exporting=_one_chunk_more),
    Fault("swapped mu and cond", "in the call of the exported module", V2, "hop export", EXPORT,
          exporting=wrapped(_swapped)),
    Fault("transposed weight", "one square weight of the simplified graph", V1, "hop simplify", SIMPLIFY,
          spoil=_transpose),
    Fault("GELU approximation", "tanh for erf in the exported module", V2, "hop export", EXPORT,
          exporting=changed(_gelu)),
    Fault("eps 1e-5 for 1e-6", "in every norm of the exported module", V3, "hop export", EXPORT,
          exporting=changed(_epsilon)),
    Fault("dropped bias", "one layer of the simplified graph", V2, "hop simplify", SIMPLIFY, spoil=_drop_bias),
    Fault("frozen batch", "the traced batch trims the output", V2, "axes", "property axes (", dynamic_batch=True,
          exporting=wrapped(after=_traced_batch)),
    Fault("frozen length", "the traced length trims the output", V1, "axes", "property axes (",
          exporting=wrapped(after=_traced_length)),
    Fault("fp16 overflow in one layer", "values of one attention 1e6 times larger, ranges not checked", V2,
          "hop lowered", "module mid_blocks.", exporting=changed(_overflow), lowered=True),
    Fault("wrong schedule", "linear for cosine in the artifact's solver", V2, "solver",
          "the state misses its bound at step", schedule="linear"),
    Fault("zero guidance row leaking", "row 0's speaker in every row of the exported module", V3, "zero_row",
          "property zero_row (", exporting=wrapped(_one_speaker)),
)  # fmt: skip
