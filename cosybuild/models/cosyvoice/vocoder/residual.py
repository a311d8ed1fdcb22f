"""The residual blocks of the generator, and their activation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cosybuild.models.cosyvoice.vocoder.convolution import NormedConvolution, spread


class Snake(nn.Module):
    """The activation Snake, x + sin^2(a x) / (a + 1e-9), with one trained a for each channel (Ziyin et al. 2020)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, T) to (B, channels, T)."""
        alpha = self.alpha.unsqueeze(1)
        sine = torch.sin(x * alpha)
        return x + sine * sine * (1 / (alpha + 1e-9))


class ResidualBlock(nn.Module):
    """Residual branches, one for each dilation d: x = x + conv(snake(conv_d(snake(x)))).

    Args:
        channels: channels of input and output.
        width: kernel width of all convolutions.
        dilations: the dilation of the first convolution of each branch.
        causal: True if the convolutions read only earlier positions.
    """

    def __init__(self, channels: int, width: int, dilations: tuple[int, ...], causal: bool) -> None:
        super().__init__()

        def convolutions(all_dilations: tuple[int, ...]) -> nn.ModuleList:
            return nn.ModuleList(
                NormedConvolution(channels, channels, width, dilation=each, **spread(width, each, causal))
                for each in all_dilations
            )

        self.convs1 = convolutions(dilations)
        self.convs2 = convolutions((1,) * len(dilations))
        self.activations1 = nn.ModuleList(Snake(channels) for _ in dilations)
        self.activations2 = nn.ModuleList(Snake(channels) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the branches to (B, channels, T) one after the other, and return the same shape."""
        for first, dilated, second, plain in zip(
            self.activations1, self.convs1, self.activations2, self.convs2, strict=True
        ):
            x = x + plain(second(dilated(first(x))))
        return x
