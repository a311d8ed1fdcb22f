"""The forms of the estimator's graph that `graph_quality.py` compares, each a step from the one before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from unittest import mock

import torch
from torch import Tensor, nn
from upstream_like import from_unet

from cosybuild.models.cosyvoice import operators
from cosybuild.models.cosyvoice.layers import SelfAttention
from cosybuild.models.cosyvoice.unet import UNet
from cosybuild.models.load import ExportableEstimator, load_estimator, prepare_for_export
from cosybuild.models.subject import Subject

Make = Callable[[Subject], nn.Module]


def _estimator(subject: Subject) -> UNet:
    return cast(UNet, load_estimator(subject, None))


def _upstream(subject: Subject) -> nn.Module:
    return from_unet(_estimator(subject))


def _one_mask(subject: Subject) -> nn.Module:
    return from_unet(_estimator(subject), one_mask=True)


def _prepared(subject: Subject) -> nn.Module:
    return prepare_for_export(ExportableEstimator(_estimator(subject), subject.streaming).eval())


@contextmanager
def _spelled_out() -> Iterator[None]:
    """Mish and the causal convolution as torch's exporter writes them."""
    with mock.patch.object(operators, "_traced", return_value=False):
        yield


def _einsum(self: SelfAttention, x: Tensor, batch: int, bias: Tensor, angles: Any = None) -> Tensor:
    parts = torch.split(self._project(x), self.heads * self.dim_head, dim=-1)
    query, key, value = (part.reshape(batch, -1, self.heads, self.dim_head) for part in parts)
    scores = torch.einsum("bihd,bjhd->bhij", query, key) + bias
    mixed = torch.einsum("bhij,bjhd->bihd", torch.softmax(scores, dim=-1), value)
    return cast(Tensor, self.to_out[0](mixed.reshape(-1, self.heads * self.dim_head)))


class _AttentionOperator(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor, heads: int) -> Tensor:
        return query.clone()  # only its shape is looked at while tracing

    @staticmethod
    def symbolic(g: Any, query: Any, key: Any, value: Any, bias: Any, heads: int) -> Any:
        made = g.op("Attention", query, key, value, bias, q_num_heads_i=heads, kv_num_heads_i=heads, scale_f=1.0)
        return made.setType(query.type())


def _operator(self: SelfAttention, x: Tensor, batch: int, bias: Tensor, angles: Any = None) -> Tensor:
    inner = self.heads * self.dim_head
    parts = torch.split(self._project(x), inner, dim=-1)
    query, key, value = (part.reshape(batch, -1, inner) for part in parts)
    # ONNX Runtime's CPU kernel refuses a bias that broadcasts over queries.
    wide = bias.expand(-1, -1, query.shape[1], -1)
    mixed: Tensor = _AttentionOperator.apply(query, key, value, wide, self.heads)
    return cast(Tensor, self.to_out[0](mixed.reshape(-1, inner)))


@contextmanager
def _attention(forward: Callable[..., Tensor]) -> Iterator[None]:
    with mock.patch.object(SelfAttention, "forward", forward):
        yield


@contextmanager
def _unchanged() -> Iterator[None]:
    yield


STEPS: dict[str, tuple[Make, Callable[[], Any]]] = {
    "upstream-like": (_upstream, _spelled_out),
    "one mask for all blocks": (_one_mask, _spelled_out),
    "frames before channels, joined projections": (_prepared, _spelled_out),
    "Mish and causal Conv as one node: the product": (_prepared, _unchanged),
}
"""Name -> (how the module is made, what holds while it is exported)."""

TRIED: dict[str, tuple[Make, Callable[[], Any], int]] = {
    "tried: Einsum for attention": (_prepared, lambda: _attention(_einsum), 18),
    "tried: the Attention operator": (_prepared, lambda: _attention(_operator), 23),
}
"""Not taken; with the lowest opset that has them."""
