"""A convolution with different padding at both ends, which an export writes as one ONNX node."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class _Convolution(torch.autograd.Function):
    """The convolution as an autograd function: eager torch calls `forward`, the TorchScript exporter `symbolic`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, dilation: int, left: int, right: int
    ) -> Tensor:
        return F.conv1d(F.pad(x, (left, right)), weight, bias, stride=stride, dilation=dilation)

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, bias: Any, stride: int, dilation: int, left: int, right: int) -> Any:
        operands = (x, weight) if bias is None or bias.node().mustBeNone() else (x, weight, bias)
        # torch pads both ends equally, so it would write a Pad in front of the Conv.
        return g.op(
            "Conv",
            *operands,
            kernel_shape_i=[weight.type().sizes()[2]],
            strides_i=[stride],
            dilations_i=[dilation],
            pads_i=[left, right],
        )


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, dilation: int = 1, left: int = 0, right: int = 0
) -> Tensor:
    """Convolve x (B, C in, T) with `weight` (C out, C in, width), and return (B, C out, T').

    Args:
        x: the input.
        weight: the kernel.
        bias: (C out,), or None.
        stride: stride of the convolution.
        dilation: dilation of the kernel.
        left, right: zeros before and after the input.
    """
    if left == right:
        return F.conv1d(x, weight, bias, stride=stride, padding=left, dilation=dilation)
    if torch.jit.is_tracing():  # type: ignore[no-untyped-call,attr-defined]  # torch has no types here
        result: Tensor = _Convolution.apply(x, weight, bias, stride, dilation, left, right)  # type: ignore[no-untyped-call]  # torch has no types here
        return result
    return F.conv1d(F.pad(x, (left, right)), weight, bias, stride=stride, dilation=dilation)
