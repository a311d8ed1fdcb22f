"""The cached estimator, which computes the velocity of one chunk from this chunk and the caches of earlier chunks."""

from __future__ import annotations

from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator.past import Past


class NewCaches(nn.Module):
    """The new caches of a call, computed in a module so that the ONNX nodes get a scope and unique names."""

    def forward(self, past: Past) -> tuple[Tensor, Tensor]:
        """Return the new `conv_cache`, and the frames to append to `att_cache`; shapes: see `Past.taken`."""
        return past.taken()


class CachedEstimator(nn.Module):
    """A streaming estimator with caches as inputs and outputs. Its weights are those of the uncached estimator.

    In a streaming estimator, a frame sees its own chunk and all earlier chunks, and a causal convolution reads a few
    earlier frames. Later chunks therefore do not change the keys, values and convolution inputs of earlier chunks. A
    call that gets these as caches returns the velocity that the uncached estimator computes for its frames from the
    whole prefix, except for rounding.

    The first frame of each call must be the first frame of a chunk. The caches depend on the time t, so each step of
    the solver needs its own.

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
            x, mask, mu, t, spks, cond: the estimator's inputs for the frames of this call.
            conv_cache: (B, C, width - 1); zeros before the first call.
            att_cache: (S, 2 * layers, B, heads, dim_head) of the S frames before this call; S = 0 in the first call.
            x_offset: (1,), integer, for a DiT: the number of frames before this call. It is S if no frame was dropped.

        Returns:
            estimator_out (B, mel, T), the new conv_cache, and the T frames to append to att_cache.
        """
        past = Past(conv_cache, att_cache, x_offset)
        velocity: Tensor = self.estimator(x, mask, mu, t, spks, cond, streaming=True, past=past)
        return velocity, *self.new_caches(past)
