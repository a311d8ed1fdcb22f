"""A small module other than CosyVoice: it assigns the frames of speech to the symbols of a text."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Aligner(nn.Module):
    """Attention from symbols to frames.

    Args:
        width: channels of both inputs.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.scale = width**-0.5

    def forward(self, text: Tensor, speech: Tensor) -> Tensor:
        """Compute the weights (1, symbols, frames) of text (1, symbols, width) and speech (1, frames, width)."""
        scores = self.query(text) @ self.key(speech).transpose(1, 2)
        return torch.softmax(scores * self.scale, dim=-1)
