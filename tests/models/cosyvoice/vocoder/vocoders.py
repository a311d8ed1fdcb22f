"""The tiny vocoders, their golden data, and calls of a vocoder with named inputs."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cosybuild.config.groups.model import Family
from cosybuild.models.cosyvoice.vocoder.hift import Hift
from cosybuild.models.cosyvoice.vocoder.interface import vocoder_spec
from cosybuild.models.cosyvoice.vocoder.load import load_vocoder
from cosybuild.models.cosyvoice.vocoder.parameters import PUBLISHED, VocoderParameters
from cosybuild.models.directory.vocoder import read_vocoder
from cosybuild.numerics.inputs import Draw, draw_inputs

DATA = Path(__file__).parents[3] / "data"
VERSIONS = (1, 2, 3)
CYCLE = 2 * np.pi


def published(version: int) -> VocoderParameters:
    return PUBLISHED[Family(f"cosyvoice{version}")]


def directory(version: int) -> Path:
    return DATA / f"token2wav{version}_tiny"


def tiny(version: int, dtype: torch.dtype = torch.float32) -> Hift:
    found = read_vocoder(directory(version))
    return load_vocoder(found.parameters, found.weights, dtype=dtype)


@cache
def golden(version: int) -> dict[str, Tensor]:
    """Return upstream's values by name."""
    with np.load(directory(version) / "vocoder.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


def golden_draws(version: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Return the random draws of the golden data and the initial state, as inputs of the vocoder."""
    data = golden(version)
    sines = data["noise"].shape[2]
    phase = data["phase"].squeeze(2) / CYCLE if version == 1 else torch.zeros(1, sines)
    return {
        "noise": data["noise"].to(dtype),
        "noise_offset": torch.tensor([0]),
        "phase": phase.to(dtype),
        "first": torch.tensor([0]),
        "end": torch.tensor([data["vmel"].shape[2]]),
    }


def contract(version: int) -> dict[str, list[int]]:
    """Return name -> shape of every tensor of the published hift.pt."""
    shapes: dict[str, list[int]] = json.loads((DATA / f"contracts/vocoder{version}.json").read_text())
    return shapes


def draw(parameters: VocoderParameters, frames: int, noise: int = 1000, seed: int = 0) -> dict[str, Tensor]:
    """Draw random inputs as the specification declares them."""
    spec = vocoder_spec(parameters)
    arrays = draw_inputs(spec, Draw({"seq_len": frames, "noise_len": noise}, seed))
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def call(module: nn.Module, inputs: dict[str, Tensor], dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """Call a vocoder of the given type with inputs by name."""
    with torch.no_grad():
        result: Any = module(*(value.to(dtype) if value.is_floating_point() else value for value in inputs.values()))
    return tuple(result)


def like(parameters: VocoderParameters, **values: object) -> VocoderParameters:
    """Return the parameters of a small vocoder of that form, with other values."""
    from cosybuild.models.cosyvoice.vocoder.parameters import with_values

    return with_values(parameters, {"base_channels": 32, "f0_channels": 16, **values})
