"""Attention masks as a bias that is added to the scores; it is finite, so that no precision gives NaN."""

from __future__ import annotations

import torch
from torch import Tensor

from cosybuild.models.cosyvoice.estimator.operators import attention_is_one

# Far below any attention score, and in float16 still finite after a score is added to it.
HIDDEN = 3.0e4


def chunk_visibility(length: int, chunk: int, like: Tensor) -> Tensor:
    """Return a matrix that says which keys a query sees: those of its own chunk and of all earlier chunks.

    Args:
        length: the number of frames T.
        chunk: frames of a chunk.
        like: a tensor whose dtype and device the result takes.

    Returns:
        (T, T), row = query, column = key: 1 where visible, 0 where hidden.
    """
    # Compute with integers: float16 cannot count beyond 2048.
    index = torch.div(torch.arange(length, device=like.device), chunk, rounding_mode="floor")
    return (index.unsqueeze(0) <= index.unsqueeze(1)).to(like.dtype)


def attention_bias(mask: Tensor, chunk: int | None = None, earlier: Tensor | None = None) -> Tensor:
    """Return the bias that is added to attention scores: 0 for a visible key, -30000 for a hidden one.

    If a query has no visible key, its bias is 0 for all keys, so that its softmax is defined. Only a masked frame can
    be such a query.

    Args:
        mask: (B, 1, T), exactly 1 where a frame is valid, else 0.
        chunk: frames of a chunk for streaming, None for full attention.
        earlier: (B, 1, 1, S), 1 for each cached frame, whose key comes before those of this call; None without caches.

    Returns:
        (B, 1, 1, T), or (B, 1, T, S + T) with chunks or for the ONNX operator `Attention`; finite in float16.
    """
    visible = mask.unsqueeze(1)
    if chunk is not None:
        visible = visible * chunk_visibility(mask.shape[2], chunk, mask)
    elif attention_is_one():
        # ONNX Runtime's CPU kernel refuses a bias that broadcasts over queries.
        visible = visible.expand(-1, -1, mask.shape[2], -1)
    if earlier is not None:
        visible = torch.cat((earlier.expand(-1, -1, mask.shape[2], -1), visible), dim=3)
    # A row without a visible key has the maximum 0, so the difference is 0 everywhere.
    return (visible - visible.amax(dim=-1, keepdim=True)) * HIDDEN


def kept_frames(mask: Tensor) -> Tensor:
    """Return 1 for each valid frame and 0 for each other frame; all frames get 1 if none is valid.

    Args:
        mask: (B, 1, T), exactly 1 where a frame is valid, else 0.

    Returns:
        (B, T, 1).
    """
    return (mask - mask.amax(dim=-1, keepdim=True) + 1.0).transpose(1, 2)
