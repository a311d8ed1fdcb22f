"""The vocoder's convolutions. Those whose weights have weight norm in checkpoints have their own classes."""

from __future__ import annotations

from torch import Tensor, nn

from cosybuild.models.cosyvoice.vocoder.operators import convolution


class Convolution(nn.Conv1d):
    """A convolution that can have different padding at both ends.

    Args:
        inputs, outputs: channels of input and output.
        width: width of the kernel.
        left, right: zeros before and after the input.
        stride: stride of the convolution.
        dilation: dilation of the kernel.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, *, left: int, right: int, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__(inputs, outputs, width, stride=stride, dilation=dilation)
        self.left, self.right = left, right

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, T) to (B, outputs, T'), where T' depends on the padding and the stride."""
        return convolution(
            x,
            self.weight,
            self.bias,
            stride=self.stride[0],
            dilation=self.dilation[0],
            left=self.left,
            right=self.right,
        )


class NormedConvolution(Convolution):
    """A convolution whose weight has weight norm in checkpoints; this module holds the folded weight."""


class NormedTransposedConvolution(nn.ConvTranspose1d):
    """A transposed convolution that up-samples by `rate`.

    Its weight has weight norm in checkpoints, with one magnitude for each input channel. This module holds the folded
    weight.
    """

    def __init__(self, inputs: int, outputs: int, width: int, rate: int) -> None:
        super().__init__(inputs, outputs, width, stride=rate, padding=(width - rate) // 2)


def spread(width: int, dilation: int, causal: bool) -> dict[str, int]:
    """Return the padding, `left` and `right`, with which a convolution of stride 1 keeps the length of its input.

    A causal convolution has all padding before the input, other convolutions have half of it at each end.
    """
    total = (width - 1) * dilation
    return {"left": total, "right": 0} if causal else {"left": total // 2, "right": total - total // 2}
