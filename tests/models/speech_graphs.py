"""ONNX files with the structure of those that a model directory ships, small and with random weights."""

from __future__ import annotations

import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.models.fixtures import DATA

NAMES = {1: "speech_tokenizer_v1.onnx", 2: "speech_tokenizer_v2.onnx", 3: "speech_tokenizer_v3.onnx"}


class SpeakerLike(nn.Module):
    """As CAM++: time-delay layers with context masks, densely joined, then statistics pooling and an affine layer."""

    def __init__(self, width: int = 32, layers: int = 3, size: int = 192) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(80, width, 5, stride=2, padding=2), nn.BatchNorm1d(width), nn.ReLU())
        joined = [width * (index + 1) for index in range(layers)]
        self.layers = nn.ModuleList(_Delay(channels, width) for channels in joined)
        self.last = nn.Linear(2 * width * (layers + 1), size)
        self.norm = nn.BatchNorm1d(size, affine=False)

    def forward(self, features: Tensor) -> Tensor:
        """Compute the vector (1, size) of a filter bank (1, frames, 80)."""
        x = self.first(features.transpose(1, 2))
        for layer in self.layers:
            x = torch.cat((x, layer(x)), dim=1)
        mean = x.mean(dim=-1)
        deviation = ((x - mean[..., None]).square().mean(dim=-1) + 1e-5).sqrt()
        result: Tensor = self.norm(self.last(torch.cat((mean, deviation), dim=1)))
        return result


class _Delay(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.narrow = nn.Sequential(nn.BatchNorm1d(channels), nn.ReLU(), nn.Conv1d(channels, width, 1))
        self.local = nn.Conv1d(width, width, 3, padding=2, dilation=2)
        self.context = nn.Sequential(nn.Conv1d(width, width // 2, 1), nn.ReLU(), nn.Conv1d(width // 2, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.narrow(x)
        result: Tensor = self.local(x) * torch.sigmoid(self.context(x.mean(dim=-1, keepdim=True)))
        return result


class TokenizerLike(nn.Module):
    """As the speech tokenizers: strided convolutions, attention with a mask of the length, then a quantiser.

    Args:
        levels: True for finite scalar quantisation (versions 2 and 3), False for the nearest entry of a codebook.
    """

    def __init__(self, levels: bool, width: int = 64, heads: int = 2, layers: int = 2) -> None:
        super().__init__()
        self.levels, self.heads = levels, heads
        self.first = nn.Conv1d(128, width, 3, stride=2, padding=1)
        self.second = nn.Conv1d(width, width, 3, stride=2 if levels else 1, padding=1)
        self.layers = nn.ModuleList(_Attention(width, heads) for _ in range(layers))
        if levels:
            self.project = nn.Linear(width, 8)
        else:
            self.register_buffer("codebook", torch.randn(256, width))

    def forward(self, feats: Tensor, feats_length: Tensor) -> Tensor:
        """Compute the tokens (1, n) of a log-mel spectrogram (1, 128, frames) of which all frames are valid."""
        gelu = nn.functional.gelu
        x = gelu(self.second(gelu(self.first(feats)))).transpose(1, 2)
        step = 4 if self.levels else 2
        valid = torch.arange(x.shape[1])[None] < (feats_length[:, None] + step - 1) // step
        mask = torch.where(valid, 0.0, -1e10)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, mask)
        if not self.levels:
            book: Any = self.codebook
            distances = x.square().sum(-1, keepdim=True) - 2 * x @ book.T + book.square().sum(-1)
            return distances.neg().argmax(dim=-1).to(torch.int32)
        digits = (torch.tanh(self.project(x)) * 0.999).round() + 1
        return (digits * 3 ** torch.arange(8, dtype=torch.float32)).sum(-1).to(torch.int32)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.memory = nn.Conv1d(width, width, 31, padding=15, groups=width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = self.project(self.norms[0](x)).chunk(3, dim=-1)
        memory = self.memory(v.transpose(1, 2)).transpose(1, 2)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + mask, dim=-1)
        x = x + self.out((weights @ v).transpose(1, 2).flatten(2)) + memory
        result: Tensor = x + self.feed(self.norms[1](x))
        return result


def write_speaker(path: Path, *, size: int = 192, batch: bool = False) -> Path:
    """Write a speaker model; `batch` makes its first axis dynamic too."""
    first = {0: "batch"} if batch else {}
    with _seeded():
        module = SpeakerLike(size=size)
    return _write(path, module, (torch.randn(1, 50, 80),), ("input",), "output", {"input": {**first, 1: "T"}})


def write_tokenizer(path: Path, *, levels: bool, frozen: int | None = None) -> Path:
    """Write a tokenizer; `frozen` fixes the number of frames."""
    with _seeded():
        module = TokenizerLike(levels)
    frames = frozen or 60
    inputs = (torch.randn(1, 128, frames), torch.tensor([frames], dtype=torch.int32))
    axes = {} if frozen else {"feats": {2: "T"}, "indices": {1: "n"}}
    return _write(path, module, inputs, ("feats", "feats_length"), "indices", axes)


def speaking_directory(version: int, directory: Path) -> Path:
    """Copy a tiny directory, and write a speaker model and a tokenizer into it."""
    shutil.copytree(DATA / f"token2wav{version}_tiny", directory)
    write_speaker(directory / "campplus.onnx")
    write_tokenizer(directory / NAMES[version], levels=version > 1)
    return directory


def _seeded() -> Any:
    fork = torch.random.fork_rng(devices=[])
    torch.manual_seed(0)
    return fork


def _write(path: Path, module: nn.Module, inputs: tuple[Tensor, ...], names: tuple[str, ...], output: str,
           axes: dict[str, dict[int, str]]) -> Path:  # fmt: skip
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates this exporter
        for name, parameter in module.named_parameters():
            if name.endswith(("weight",)) and parameter.ndim > 1:
                parameter.mul_(1.5)  # as after training, activations stay of size 1
        torch.onnx.export(
            module.eval(), inputs, str(path), input_names=list(names), output_names=[output], dynamic_axes=axes,
            opset_version=18, dynamo=False,
        )  # fmt: skip
    return path
