"""The state that a chunk takes over from the chunks before it: keys, values, and the left context of convolutions."""

from __future__ import annotations

import torch
from torch import Tensor


class Past:
    """The caches of one call. Each layer, in the order of the computation, reads its part and stores the new part.

    Args:
        conv_cache: (B, C, width - 1): the last input frames of every causal convolution, joined along the channels.
        att_cache: (S, 2 * layers, B, heads, dim_head): for each earlier frame the keys and values of every attention;
            index 2 * i has the keys of attention i, after the rotation by position, and 2 * i + 1 has the values.
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
        """Ones for the earlier frames, (B, 1, 1, S): every later frame sees them all."""
        return self._kept.new_ones((self._kept.shape[2], 1, 1, self._kept.shape[0]))

    def with_context(self, x: Tensor, width: int) -> Tensor:
        """Return an input (B, C, T) with the next convolution's stored context in front, (B, C, width - 1 + T).

        The last width - 1 positions of the result are stored as the context for the next chunk.
        """
        channels = x.shape[1]
        context = self._contexts[:, self._channels : self._channels + channels]
        self._channels += channels
        joined = torch.cat((context, x), dim=2)
        # A negative start: also right for a chunk that is shorter than the context.
        self._new_contexts.append(joined[:, :, 1 - width :])
        return joined

    def with_history(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Put the next attention's history before its keys and values.

        Args:
            key, value: (B, heads, T, dim_head).

        Returns:
            Both, (B, heads, S + T, dim_head).
        """
        return self._extended(key), self._extended(value)

    def _extended(self, new: Tensor) -> Tensor:
        earlier = self._kept[:, self._layers].permute(1, 2, 0, 3)
        self._layers += 1
        self._new_kept.append(new.permute(2, 0, 1, 3))
        return torch.cat((earlier, new), dim=2)

    def taken(self) -> tuple[Tensor, Tensor]:
        """Return what the next call needs: the new `conv_cache`, and the frames to append to `att_cache`.

        Returns:
            (B, C, width - 1) and (T, 2 * layers, B, heads, dim_head).
        """
        return torch.cat(self._new_contexts, dim=1), torch.stack(self._new_kept, dim=1)
