"""Self-attention with relative positions, as in Transformer-XL (Dai et al. 2019, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator.layers import attend
from cosybuild.models.cosyvoice.estimator.past import Past


class RelativeAttention(nn.Module):
    """Multi-head self-attention whose scores depend on the content of query and key and on their distance.

    Args:
        dim: channels of input and output.
        heads: number of heads; divides `dim`.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.dim_head = dim // heads
        self.scale = self.dim_head**-0.5
        self.linear_q = nn.Linear(dim, dim)
        self.linear_k = nn.Linear(dim, dim)
        self.linear_v = nn.Linear(dim, dim)
        self.linear_out = nn.Linear(dim, dim)
        self.linear_pos = nn.Linear(dim, dim, bias=False)
        self.pos_bias_u = nn.Parameter(torch.empty(heads, self.dim_head))
        self.pos_bias_v = nn.Parameter(torch.empty(heads, self.dim_head))
        nn.init.xavier_uniform_(self.pos_bias_u)
        nn.init.xavier_uniform_(self.pos_bias_v)

    def forward(
        self, x: Tensor, positions: Tensor, bias: Tensor | None, past: Past | None = None, times: int = 1
    ) -> Tensor:
        """Return the attention output, (B, T, dim).

        Args:
            x: (B, T, dim).
            positions: (1, S + 2 * T, dim), see `positions.RelativePositions`.
            bias: (1, 1, T, S + T), added to the scores; None for full attention.
            past: the keys and values of the S positions before x; None if there are none.
            times: see `Past.with_history`.
        """
        batch, length = x.shape[0], x.shape[1]
        query = self._heads(self.linear_q(x))
        key, value = self._heads(self.linear_k(x)), self._heads(self.linear_v(x))
        if past is not None:
            # The stored keys have no position: a score's position is in the distance alone.
            key, value = past.with_history(key, value, times)
        distance = self._heads(self.linear_pos(positions))
        by_distance = torch.matmul(query + self.pos_bias_v.unsqueeze(1), distance.transpose(2, 3))
        scores = relative_shift(by_distance, None if past is None else past.earlier(times)) * self.scale
        mixed = attend(
            query + self.pos_bias_u.unsqueeze(1), key, value, scores if bias is None else scores + bias, self.scale
        )
        result: Tensor = self.linear_out(mixed.transpose(1, 2).reshape(batch, length, self.heads * self.dim_head))
        return result

    def _heads(self, x: Tensor) -> Tensor:
        """Split (B, T, dim) into (B, heads, T, dim_head)."""
        return x.reshape(x.shape[0], -1, self.heads, self.dim_head).transpose(1, 2)


def relative_shift(scores: Tensor, earlier: int | None = None) -> Tensor:
    """Convert scores by distance to scores by key: (B, heads, T, S + 2 * T) -> (B, heads, T, S + T).

    The first S keys are those of earlier positions, so query i and key j have the distance S + i - j. The score of this
    distance is in column T - 1 - i + j of row i, which is element i (S + 2 T - 1) + j + T - 1 of the flattened matrix.
    The function removes the first T - 1 elements and cuts the others into rows of S + 2 T - 1 elements. The score is
    then in row i and column j.

    Args:
        scores: one row for each query, one column for each of the distances S + T - 1, S + T - 2, ..., -T.
        earlier: S; None if there are no earlier positions.
    """
    batch, heads, length = scores.shape[0], scores.shape[1], scores.shape[2]
    flat = scores.reshape(batch, heads, -1)[:, :, length - 1 : -1]
    if earlier is None:
        return flat.reshape(batch, heads, length, 2 * length - 1)[:, :, :, :length]
    keys = earlier + length
    return flat.reshape(batch, heads, length, keys + length - 1)[:, :, :, :keys]
