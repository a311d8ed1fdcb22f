"""Good and faulty modules that tests export by `model=module`."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor, nn


class TextEncoder(nn.Module):
    """A module with two varying axes besides the batch, an integer input, and two outputs."""

    def __init__(self, width: int = 16, scale: float = 1.0) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, width)
        self.mix = nn.Linear(width, width)
        self.scale = scale

    def forward(self, tokens: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.mix(self.embed(tokens))
        scores = torch.softmax(hidden @ memory.transpose(1, 2), dim=-1)
        return scores @ memory * self.scale, hidden.mean(dim=1)


class Frozen(nn.Module):
    """Converts a size to a Python number."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.arange(int(x.shape[1])).numpy().sum()


class FrozenOutput(nn.Module):
    """After tracing, its output always has the example's length, which shape inference sees."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(dim=1, keepdim=True) + torch.zeros(len(list(x[0])))


class HiddenFrozenOutput(nn.Module):
    """The same fault, which only a run shows."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(dim=1, keepdim=True).expand(-1, len(list(x[0]))).clone()


class Unexportable(nn.Module):
    """Uses an operator that ONNX does not have."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvals(x @ x.transpose(0, 1)).real


class Broken(nn.Module):
    """Raises in its forward."""

    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("no such speaker")


class Even(nn.Module):
    """Accepts only even lengths."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1, 2).sum(dim=2).repeat_interleave(2, dim=1)


class Heavy(nn.Module):
    """Has enough weights for external data."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(width, width) for _ in range(4)))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


class Softened(nn.Module):
    """Computes a softmax, which is finite for every finite input."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x, dim=-1)


class Positions(nn.Module):
    """Has learned positions for at most eight steps."""

    def __init__(self, most: int = 8, width: int = 4) -> None:
        super().__init__()
        self.table = nn.Embedding(most, width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.table(torch.arange(x.shape[1], device=x.device))
        return result


class Blocks(nn.Module):
    """Accepts only multiples of 32."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x.reshape(x.shape[0], -1, 32), dim=-1).reshape(x.shape[0], x.shape[1])


class OneRow(nn.Module):
    """Accepts only a batch of one, although the axis is declared as one that varies."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x.reshape(1, x.shape[1], x.shape[2]))
        return result.expand_as(x)


class MaskedAttention(nn.Module):
    """Attention in which hidden queries see no key, so that their softmax is NaN."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        seen = (mask.transpose(1, 2) * mask) > 0
        scores = (x @ x.transpose(1, 2)).masked_fill(~seen, -torch.inf)
        return torch.softmax(scores, dim=-1) @ x


class Large(nn.Module):
    """Has weights of 2.3 GB in float32, more than a protobuf message may contain."""

    def __init__(self, words: int = 280_000) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, 1024)
        self.widen = nn.Linear(1024, words)
        self.narrow = nn.Linear(words, 4)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.narrow(torch.relu(self.widen(self.embed(x))))
        return result


class Refined(nn.Module):
    """Returns a field with the name of its input."""

    def forward(self, sample: Tensor) -> dict[str, Tensor]:
        return {"sample": 2 * sample}


class DrawnByOthers(nn.Module):
    """Draws its parameters from the generators of numpy and of Python."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([random.random(), np.random.rand()]))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight
