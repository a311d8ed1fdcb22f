"""The variant of version 2's front end that computes a chunk from the chunk and the caches of the chunks before it."""

from __future__ import annotations

from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator.cached import NewCaches
from cosybuild.models.cosyvoice.estimator.past import Past


class CachedFrontEnd(nn.Module):
    """A streaming front end with caches as inputs and outputs, with the weights of the uncached one.

    A token sees its own chunk and all earlier ones, the convolutions read two earlier tokens, and a score depends on
    the distance of two tokens only. So a call that takes over the state gives the frames that the uncached front end
    gives for the whole prefix, except for rounding. Each call must begin at the begin of a chunk; the prompt belongs to
    the first call.

    Args:
        frontend: an `UpsamplingFrontEnd` with streaming attention.
    """

    def __init__(self, frontend: nn.Module) -> None:
        super().__init__()
        self.frontend = frontend
        self.new_caches = NewCaches()

    def forward(
        self,
        token: Tensor,
        prompt_token: Tensor,
        prompt_feat: Tensor,
        embedding: Tensor,
        lookahead_token: Tensor,
        conv_cache: Tensor,
        att_cache: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return mu, spks and cond of the tokens of this call, and the caches for the next call.

        Args:
            token, prompt_token, prompt_feat, embedding, lookahead_token: of this call, see `UpsamplingFrontEnd`.
            conv_cache: (1, C, 2); zeros before the first call.
            att_cache: the keys and values of the S tokens before this call, (S, 2 * layers, 1, heads, dim_head); S = 0
                in the first call. If a token has n frames after the up-sampling, each later layer counts as n `layers`.

        Returns:
            mu (1, mel, T), spks (1, mel), cond (1, mel, T), the new conv_cache, and the tokens to append to att_cache.
        """
        past = Past(conv_cache, att_cache)
        mu, spks, cond = self.frontend(token, prompt_token, prompt_feat, embedding, lookahead_token, past)
        return mu, spks, cond, *self.new_caches(past)
