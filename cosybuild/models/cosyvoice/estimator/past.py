"""The caches of earlier chunks that one chunk needs: keys, values, and the left context of convolutions."""

from __future__ import annotations

import torch
from torch import Tensor


class Past:
    """The caches of one call. The layers must use it in the order of the computation.

    Each layer reads its own slice of the caches, and stores the slice for the next call.

    Args:
        conv_cache: (B, C, width - 1): the last input frames of every causal convolution, joined along the channels.
        att_cache: (S, 2 * layers, B, heads, dim_head): the keys and values of every attention layer for S earlier
            frames. Index 2 * i has the keys of layer i, after the rotation by position, and 2 * i + 1 the values. An
            attention over `times` positions for each entry counts as `times` layers.
        offset: (1,), integer: the number of frames before this call; None for a network without positions.
    """

    def __init__(self, conv_cache: Tensor, att_cache: Tensor, offset: Tensor | None = None) -> None:
        self.offset = offset
        self._contexts, self._kept = conv_cache, att_cache
        self._channels, self._layers = 0, 0
        self._new_contexts: list[Tensor] = []
        self._new_kept: list[Tensor] = []

    @property
    def visible(self) -> Tensor:
        """Ones, (B, 1, 1, S): every frame of this call sees all S cached frames."""
        return self._kept.new_ones((self._kept.shape[2], 1, 1, self._kept.shape[0]))

    def with_context(self, x: Tensor, width: int) -> Tensor:
        """Put the cached context of the next convolution in front of its input.

        The last width - 1 positions of the result are stored as the context for the next chunk.

        Args:
            x: the input of the convolution, (B, C, T).
            width: the number of frames that the convolution's kernel reads.

        Returns:
            (B, C, width - 1 + T).
        """
        channels = x.shape[1]
        context = self._contexts[:, self._channels : self._channels + channels]
        self._channels += channels
        joined = torch.cat((context, x), dim=2)
        # A negative start is also correct for a chunk that is shorter than the context.
        self._new_contexts.append(joined[:, :, 1 - width :])
        return joined

    def earlier(self, times: int = 1) -> int:
        """Return the number of positions before this call for an attention with `times` positions for each entry."""
        return self._kept.shape[0] * times

    def with_history(self, key: Tensor, value: Tensor, times: int = 1) -> tuple[Tensor, Tensor]:
        """Put the cached keys and values of the next attention layer in front of its new ones, and store the new ones.

        Args:
            key, value: (B, heads, times * T, dim_head).
            times: positions of this attention for each entry of the cache.

        Returns:
            Both, (B, heads, times * (S + T), dim_head).
        """
        if times == 1:
            return self._extended(key), self._extended(value)
        return self._extended_groups(key, times), self._extended_groups(value, times)

    def _extended(self, new: Tensor) -> Tensor:
        earlier = self._kept[:, self._layers].permute(1, 2, 0, 3)
        self._layers += 1
        self._new_kept.append(new.permute(2, 0, 1, 3))
        return torch.cat((earlier, new), dim=2)

    def _extended_groups(self, new: Tensor, times: int) -> Tensor:
        batch, heads, width = new.shape[0], new.shape[1], new.shape[3]
        kept = self._kept[:, self._layers : self._layers + times]
        earlier = kept.permute(2, 3, 0, 1, 4).reshape(batch, heads, -1, width)
        self._layers += times
        groups = new.reshape(batch, heads, -1, times, width).permute(2, 3, 0, 1, 4)
        self._new_kept += [groups[:, index] for index in range(times)]
        return torch.cat((earlier, new), dim=2)

    def taken(self) -> tuple[Tensor, Tensor]:
        """Return the new `conv_cache`, and the frames to append to `att_cache` for the next call.

        Returns:
            (B, C, width - 1) and (T, 2 * layers, B, heads, dim_head).
        """
        return torch.cat(self._new_contexts, dim=1), torch.stack(self._new_kept, dim=1)
