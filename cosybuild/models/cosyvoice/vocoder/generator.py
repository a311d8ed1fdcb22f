"""The generator, which computes the magnitude and the phase of the waveform's spectra from the mel and the source."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosybuild.models.cosyvoice.vocoder.convolution import (
    Convolution,
    NormedConvolution,
    NormedTransposedConvolution,
    spread,
)
from cosybuild.models.cosyvoice.vocoder.parameters import FIRST_WIDTH, LAST_WIDTH, VocoderParameters
from cosybuild.models.cosyvoice.vocoder.residual import ResidualBlock

LAST_SLOPE = 0.01
"""Slope of the leaky ReLU after the last stage; the others have the hyper-parameter `lrelu_slope`."""

LARGEST_MAGNITUDE = 100.0


class RepeatedUpsampling(NormedConvolution):
    """The causal up-sampling: each frame is repeated `rate` times, then a causal convolution follows."""

    def __init__(self, inputs: int, outputs: int, width: int, rate: int) -> None:
        super().__init__(inputs, outputs, width, left=width - 1, right=0)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, T) to (B, outputs, rate * T)."""
        repeated = x.unsqueeze(3).expand(-1, -1, -1, self.rate).flatten(2)
        return super().forward(repeated)


class Generator(nn.Module):
    """The network that computes the magnitude and the phase of the waveform's spectra.

    Each stage up-samples the mel and adds the spectra of the source signal. The vocoder inherits from this class, so
    that its layers have the same names as in CosyVoice's checkpoints.
    """

    def __init__(self, parameters: VocoderParameters) -> None:
        super().__init__()
        self.values = own = parameters
        self.last_slope = LAST_SLOPE
        causal, base = own.causal, own.base_channels
        if causal:
            ahead = own.conv_pre_look_right
            self.conv_pre: NormedConvolution = NormedConvolution(own.in_channels, base, ahead + 1, left=0, right=ahead)
        else:
            self.conv_pre = NormedConvolution(own.in_channels, base, FIRST_WIDTH, **spread(FIRST_WIDTH, 1, False))
        upsampling = RepeatedUpsampling if causal else NormedTransposedConvolution
        self.ups = nn.ModuleList()
        self.source_downs = nn.ModuleList()
        self.source_resblocks = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for stage, (rate, width) in enumerate(zip(own.upsample_rates, own.upsample_kernel_sizes, strict=True)):
            channels = base >> (stage + 1)
            self.ups.append(upsampling(2 * channels, channels, width, rate))
            self.source_downs.append(_down(own, channels, math.prod(own.upsample_rates[stage + 1 :])))
            size, dilations = own.source_resblock_kernel_sizes[stage], own.source_resblock_dilation_sizes[stage]
            self.source_resblocks.append(ResidualBlock(channels, size, dilations, causal))
            for size, dilations in zip(own.resblock_kernel_sizes, own.resblock_dilation_sizes, strict=True):
                self.resblocks.append(ResidualBlock(channels, size, dilations, causal))
        self.conv_post = NormedConvolution(channels, own.n_fft + 2, LAST_WIDTH, **spread(LAST_WIDTH, 1, causal))

    def generate(self, mel: Tensor, spectra: Tensor) -> tuple[Tensor, Tensor]:
        """Compute magnitude and phase (in rad), each (B, bins, T * spectra_per_frame + 1).

        Args:
            mel: (B, in_channels, T).
            spectra: spectra of the source signal, (B, n_fft + 2, T * spectra_per_frame + 1).
        """
        own = self.values
        x = self.conv_pre(mel)
        each, last = len(own.resblock_kernel_sizes), len(self.ups) - 1
        for stage, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, own.lrelu_slope))
            if stage == last:
                x = self.longer(x)
            x = x + self.source_resblocks[stage](self.source_downs[stage](spectra))
            blocks = [self.resblocks[stage * each + index](x) for index in range(each)]
            x = sum(blocks[1:], blocks[0]) * (1 / each)
        x = self.conv_post(F.leaky_relu(x, self.last_slope))
        magnitude, phase = x[:, : own.bins], x[:, own.bins :]
        return torch.exp(magnitude).clamp(max=LARGEST_MAGNITUDE), torch.sin(phase)

    def longer(self, x: Tensor) -> Tensor:
        """Put a copy of the second position in front of x (B, C, T), because the source has one spectrum more."""
        return torch.cat([x[:, :, 1:2], x], dim=2)


def _down(values: VocoderParameters, channels: int, rate: int) -> Convolution:
    """Return the convolution that reduces the rate of the source's spectra by `rate`, to the rate of a stage."""
    spectra = values.n_fft + 2
    if rate == 1:
        return Convolution(spectra, channels, 1, left=0, right=0)
    left = rate - 1 if values.causal else rate // 2
    return Convolution(spectra, channels, 2 * rate, left=left, right=0 if values.causal else rate // 2, stride=rate)
