"""Operators that torch's TorchScript exporter spells out in many nodes, and that ONNX has as one."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# torch.onnx asks an autograd function for `symbolic`; both exporters and eager torch compute `forward`.


class _Mish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return F.mish(x)

    @staticmethod
    def symbolic(g: Any, x: Any) -> Any:
        if g.opset >= 18:
            return g.op("Mish", x).setType(x.type())
        return g.op("Mul", x, g.op("Tanh", g.op("Softplus", x))).setType(x.type())


class _CausalConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
        return F.conv1d(F.pad(x, (weight.shape[2] - 1, 0)), weight, bias, groups=groups)

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, bias: Any, groups: int) -> Any:
        width = weight.type().sizes()[2]
        # torch pads both sides alike, so it would write a Pad whose amounts are computed in the graph.
        return g.op("Conv", x, weight, bias, kernel_shape_i=[width], pads_i=[width - 1, 0], group_i=groups)


def mish(x: Tensor) -> Tensor:
    """x tanh(softplus(x))."""
    if _traced():
        result: Tensor = _Mish.apply(x)  # type: ignore[no-untyped-call]  # torch has no types here
        return result
    return F.mish(x)


def causal_convolution(x: Tensor, weight: Tensor, bias: Tensor, groups: int = 1) -> Tensor:
    """A convolution over the past only: (B, C in, T), (C out, C in / groups, width), (C out,) -> (B, C out, T)."""
    if _traced():
        result: Tensor = _CausalConvolution.apply(x, weight, bias, groups)  # type: ignore[no-untyped-call]  # as above
        return result
    return F.conv1d(F.pad(x, (weight.shape[2] - 1, 0)), weight, bias, groups=groups)


def _traced() -> bool:
    result: bool = torch.jit.is_tracing()  # type: ignore[no-untyped-call,attr-defined]  # as above
    return result
