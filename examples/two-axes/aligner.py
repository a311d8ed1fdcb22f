"""A small module that has nothing to do with CosyVoice: which frames does each symbol of a text belong to?"""

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
        """Text (1, symbols, width) and speech (1, frames, width) give weights (1, symbols, frames)."""
        scores = self.query(text) @ self.key(speech).transpose(1, 2)
        return torch.softmax(scores * self.scale, dim=-1)
