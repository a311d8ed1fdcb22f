"""The variant of a streaming estimator that computes a chunk from the chunk and the caches of the chunks before it."""

from __future__ import annotations

from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator.past import Past


class NewCaches(nn.Module):
    """The caches that a call returns. They are a module, so that the nodes get a scope and have unique names."""

    def forward(self, past: Past) -> tuple[Tensor, Tensor]:
        """Return the new conv_cache, and the frames to append to att_cache."""
        return past.taken()


class CachedEstimator(nn.Module):
    """A streaming estimator with caches as inputs and outputs, with the weights of the uncached one.

    A frame sees its own chunk and all earlier ones, and a causal convolution reads a bounded number of earlier frames.
    So the keys, values and convolution inputs of an earlier chunk do not change when later ones arrive, and a call
    that takes them over gives the velocity that the uncached estimator gives for the whole prefix, except for rounding.
    Each call must begin at the begin of a chunk. The caches depend on the time t: each step of the solver has its own.

    Args:
        estimator: a `UNet` of version 2, or a `DiT`.
    """

    def __init__(self, estimator: nn.Module) -> None:
        super().__init__()
        self.estimator = estimator
        self.new_caches = NewCaches()

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        mu: Tensor,
        t: Tensor,
        spks: Tensor,
        cond: Tensor,
        conv_cache: Tensor,
        att_cache: Tensor,
        x_offset: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the velocity of the frames of this call, and the caches for the next call.

        Args:
            x, mask, mu, t, spks, cond: of the frames of this call, see the estimator.
            conv_cache: (B, C, width - 1); zeros before the first call.
            att_cache: (S, 2 * layers, B, heads, dim_head) of the S frames before this call; S = 0 in the first call.
            x_offset: (1,), integer, for a DiT: the number of frames before this call. It is S if no frame was dropped.

        Returns:
            estimator_out (B, mel, T), the new conv_cache, and the T frames to append to att_cache.
        """
        past = Past(conv_cache, att_cache, x_offset)
        velocity: Tensor = self.estimator(x, mask, mu, t, spks, cond, streaming=True, past=past)
        return velocity, *self.new_caches(past)
