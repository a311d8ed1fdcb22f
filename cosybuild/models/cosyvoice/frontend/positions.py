"""The sinusoidal encoding of relative positions, computed for any length."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class RelativePositions(nn.Module):
    """The sinusoids of all distances between two of T tokens.

    The distance p has sin(p w) in channel 2 k and cos(p w) in channel 2 k + 1, where w = exp(-ln(10000) 2 k / dim).
    CosyVoice's own code reads the same values from a table for up to 5,000 tokens.

    Args:
        dim: width of the encoder, even.
    """

    frequencies: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        # The device is explicit: a module that is built on the meta device needs these values, too.
        steps = torch.arange(0, dim, 2, device="cpu", dtype=torch.float32)
        # Float32 exponentials differ between processors in the last place.
        exponents = (steps * -(math.log(10000.0) / dim)).double()
        self.register_buffer("frequencies", torch.exp(exponents).float(), persistent=False)

    def forward(self, x: Tensor, earlier: int | None = None) -> Tensor:
        """Return the sinusoids of the distances S + T - 1, S + T - 2, ..., -T as (1, S + 2 * T, dim).

        The last distance, -T, occurs between no two tokens. It is included because `attention.relative_shift` would
        otherwise have to pad each row of the scores by one element.

        Args:
            x: (B, T, dim); gives the length, the dtype and the device.
            earlier: S, the number of positions before those of x, which only keys have; None for no such input.
        """
        length = x.shape[1]
        farthest = length - 1 if earlier is None else earlier + length - 1
        distances = torch.arange(farthest, -length - 1, -1, device=x.device)
        # The product is rounded to float32, as in CosyVoice's table, even if the module is float64. The weights were
        # trained with these values, and they are equal on every processor.
        phase = (distances.to(torch.float32).unsqueeze(1) * self.frequencies.to(torch.float32)).to(x.dtype)
        return torch.stack((phase.sin(), phase.cos()), dim=-1).flatten(1).unsqueeze(0)
