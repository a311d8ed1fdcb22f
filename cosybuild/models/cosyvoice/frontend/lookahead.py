"""The look-ahead layer: two convolutions, of which the first sees the next tokens."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator.operators import causal_convolution

# Kernel of the second convolution, which upstream fixes.
_WIDTH = 3


class LookAhead(nn.Module):
    """A convolution over the next tokens, a leaky ReLU, a convolution over the past ones, and a residual.

    Args:
        dim: channels of input and output.
        channels: channels between the convolutions.
        ahead: tokens that the first convolution sees beyond its own.
    """

    def __init__(self, dim: int, channels: int, ahead: int) -> None:
        super().__init__()
        self.ahead = ahead
        self.conv1 = nn.Conv1d(dim, channels, kernel_size=ahead + 1)
        self.conv2 = nn.Conv1d(channels, dim, kernel_size=_WIDTH)

    def forward(self, x: Tensor, count: int) -> Tensor:
        """Return the outputs (B, count, dim) of the first `count` tokens; each also depends on the next `ahead` tokens.

        Args:
            x: (B, count + A, dim): `count` tokens and A look-ahead tokens. The first `ahead` of these are used;
                missing ones are zero, as at the end of an utterance.
            count: number of tokens to return, 1 or more.
        """
        # Padded before it is cut: one graph serves A = 0 and A = `ahead`.
        seen = F.pad(x.transpose(1, 2), (0, self.ahead))[:, :, : count + self.ahead]
        hidden = F.leaky_relu(self.conv1(seen))
        change = causal_convolution(hidden, self.conv2.weight, _bias(self.conv2))
        return x[:, :count] + change.transpose(1, 2)


def _bias(convolution: nn.Conv1d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias
