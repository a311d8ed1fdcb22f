"""The forms of the estimator's graph that `graph_quality.py` compares, each a step from the one before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from unittest import mock

import torch
from torch import Tensor, nn
from upstream_like import from_unet

from cosybuild.models.cosyvoice.estimator import operators
from cosybuild.models.cosyvoice.estimator.exportable import ExportableEstimator
from cosybuild.models.cosyvoice.estimator.layers import SelfAttention
from cosybuild.models.cosyvoice.estimator.operators import one_attention_operator
from cosybuild.models.cosyvoice.estimator.unet import UNet
from cosybuild.models.load import load_network, prepare_for_export
from cosybuild.models.subject import Subject

Make = Callable[[Subject], nn.Module]


def _estimator(subject: Subject) -> UNet:
    return cast(UNet, load_network(subject, None))


def _upstream(subject: Subject) -> nn.Module:
    return from_unet(_estimator(subject))


def _one_mask(subject: Subject) -> nn.Module:
    return from_unet(_estimator(subject), one_mask=True)


def _prepared(subject: Subject) -> nn.Module:
    return prepare_for_export(ExportableEstimator(_estimator(subject), subject.streaming).eval())


@contextmanager
def _spelled_out() -> Iterator[None]:
    """Export Mish and the causal convolution as torch's exporter writes them."""
    with mock.patch.object(operators, "_traced", return_value=False):
        yield


def _einsum(self: SelfAttention, x: Tensor, batch: int, bias: Tensor, angles: Any = None) -> Tensor:
    parts = torch.split(self._project(x), self.heads * self.dim_head, dim=-1)
    query, key, value = (part.reshape(batch, -1, self.heads, self.dim_head) for part in parts)
    scores = torch.einsum("bihd,bjhd->bhij", query, key) + bias
    mixed = torch.einsum("bhij,bjhd->bihd", torch.softmax(scores, dim=-1), value)
    return cast(Tensor, self.to_out[0](mixed.reshape(-1, self.heads * self.dim_head)))


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
"""Name -> (function that makes the module, context of the export)."""

OPERATOR = "export.attention=operator"

TRIED: dict[str, tuple[Make, Callable[[], Any], int]] = {
    "tried: Einsum for attention": (_prepared, lambda: _attention(_einsum), 18),
    OPERATOR: (_prepared, one_attention_operator, 23),
}
"""Variants that are not the default, each with the lowest opset that has it."""
