"""The vocoder's convolutions, with stated padding; those with weight norm in checkpoints have classes of their own."""

from __future__ import annotations

from torch import Tensor, nn

from cosybuild.models.cosyvoice.vocoder.operators import convolution


class Convolution(nn.Conv1d):
    """A convolution that keeps the length divided by its stride, with stated padding.

    Args:
        inputs, outputs: channels.
        width: width of the kernel.
        left, right: zeros before and behind the input.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, *, left: int, right: int, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__(inputs, outputs, width, stride=stride, dilation=dilation)
        self.left, self.right = left, right

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, inputs, T)."""
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
    """A convolution whose weight has weight norm in checkpoints; here it is folded."""


class NormedTransposedConvolution(nn.ConvTranspose1d):
    """A transposed convolution that up-samples by `rate`, with folded weight norm over the input channels."""

    def __init__(self, inputs: int, outputs: int, width: int, rate: int) -> None:
        super().__init__(inputs, outputs, width, stride=rate, padding=(width - rate) // 2)


def spread(width: int, dilation: int, causal: bool) -> dict[str, int]:
    """Return the padding that keeps the length: all of it before the input if causal, else half at each end."""
    total = (width - 1) * dilation
    return {"left": total, "right": 0} if causal else {"left": total // 2, "right": total - total // 2}
