"""Operators that ONNX has as one node, and that torch's TorchScript exporter would write as several nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_ATTENTION_IS_ONE: ContextVar[bool] = ContextVar("_ATTENTION_IS_ONE", default=False)
_PLAIN: ContextVar[bool] = ContextVar("plain_operators", default=False)

# The TorchScript exporter writes the nodes of `symbolic`. Both exporters and eager torch call `forward`.


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
        # torch pads both sides equally, so it would write a Pad whose amounts are computed in the graph.
        return g.op("Conv", x, weight, bias, kernel_shape_i=[width], pads_i=[width - 1, 0], group_i=groups)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)

    @staticmethod
    def symbolic(g: Any, query: Any, key: Any, value: Any, bias: Any, scale: float) -> Any:
        return g.op("Attention", query, key, value, bias, scale_f=scale).setType(query.type())


@contextmanager
def one_attention_operator() -> Iterator[None]:
    """Make exports inside the `with` block write attention as one node `Attention`, which ONNX has from opset 23."""
    token = _ATTENTION_IS_ONE.set(True)
    try:
        yield
    finally:
        _ATTENTION_IS_ONE.reset(token)


@contextmanager
def plain_operators() -> Iterator[None]:
    """Make traces inside the `with` block use only torch's own operators: TorchScript cannot save others."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def attention_is_one() -> bool:
    """Return True if a trace runs inside `one_attention_operator`.

    The attention bias must then have a row for every query, because ONNX Runtime's kernel requires that.
    """
    return _ATTENTION_IS_ONE.get() and _traced()


def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Return softmax(scale * query key^T + bias) value; exported as one node. Shapes: see `layers.attend`."""
    result: Tensor = _Attention.apply(query, key, value, bias, scale)  # type: ignore[no-untyped-call]  # no types here
    return result


def mish(x: Tensor) -> Tensor:
    """Return x tanh(softplus(x)), for x of any shape."""
    if _traced():
        result: Tensor = _Mish.apply(x)  # type: ignore[no-untyped-call]  # torch has no types here
        return result
    return F.mish(x)


def causal_convolution(x: Tensor, weight: Tensor, bias: Tensor, groups: int = 1) -> Tensor:
    """Convolve over the past only, with zeros before the first frame, and return (B, C out, T).

    Args:
        x: (B, C in, T).
        weight: (C out, C in / groups, width).
        bias: (C out,).
        groups: number of groups of channels.
    """
    if _traced():
        result: Tensor = _CausalConvolution.apply(x, weight, bias, groups)  # type: ignore[no-untyped-call]  # torch has no types here
        return result
    return F.conv1d(F.pad(x, (weight.shape[2] - 1, 0)), weight, bias, groups=groups)


def _traced() -> bool:
    if _PLAIN.get():
        return False
    result: bool = torch.jit.is_tracing()  # type: ignore[no-untyped-call,attr-defined]  # torch has no types here
    return result
