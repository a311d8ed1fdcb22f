"""The look-ahead layer: a convolution that reads the following tokens, and one that reads the earlier tokens."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator.operators import causal_convolution
from cosybuild.models.cosyvoice.estimator.past import Past
from cosybuild.models.cosyvoice.families import LOOKAHEAD_KERNEL


class LookAhead(nn.Module):
    """A convolution over following tokens, a leaky ReLU, and a convolution over earlier tokens, as a residual branch.

    Args:
        dim: channels of input and output.
        channels: channels between the convolutions.
        ahead: number of following tokens that the first convolution reads for each token.
    """

    def __init__(self, dim: int, channels: int, ahead: int) -> None:
        super().__init__()
        self.ahead = ahead
        self.conv1 = nn.Conv1d(dim, channels, kernel_size=ahead + 1)
        self.conv2 = nn.Conv1d(channels, dim, kernel_size=LOOKAHEAD_KERNEL)

    def forward(self, x: Tensor, count: int, past: Past | None = None) -> Tensor:
        """Return the outputs (B, count, dim) of the first `count` tokens; each also depends on the next `ahead` tokens.

        Args:
            x: (B, count + A, dim): `count` tokens, then A look-ahead tokens. Only the first `ahead` look-ahead tokens
                are used. If there are fewer, zeros replace them, as at the end of an utterance.
            count: number of tokens to return, 1 or more.
            past: the second convolution's inputs of the tokens before x; None at the begin of an utterance.
        """
        # The input is padded first and then cut, so that one graph serves A = 0 and A = `ahead`.
        seen = F.pad(x.transpose(1, 2), (0, self.ahead))[:, :, : count + self.ahead]
        hidden = F.leaky_relu(self.conv1(seen))
        if past is None:
            change = causal_convolution(hidden, self.conv2.weight, _bias(self.conv2))
        else:
            change = self.conv2(past.with_context(hidden, LOOKAHEAD_KERNEL))
        return x[:, :count] + change.transpose(1, 2)


def _bias(convolution: nn.Conv1d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias
