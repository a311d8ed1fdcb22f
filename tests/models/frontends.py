"""The tiny model directories that hold whole flow models, and their golden data of the front end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.models.load import load_network
from cosybuild.models.resolve import resolve_subject
from cosybuild.models.subject import Subject
from cosybuild.numerics.metrics import Array, snr_db
from tests.models.fixtures import DATA

OUTPUTS = ("mu", "spks", "cond")
GOLDEN_DB = 110.0
"""Least agreement with upstream's float64 values, which are stored in float32 (150 dB)."""

AHEAD = 3


def front_end_subject(version: int, **settings: Any) -> Subject:
    directory = DATA / f"token2wav{version}_tiny"
    return resolve_subject(ModelSettings(**settings), str(directory), False, ComponentName.frontend)


def full_size_front_end(version: int, **settings: Any) -> Subject:
    model = ModelSettings(family=Family(f"cosyvoice{version}"), **settings)
    return resolve_subject(model, None, False, ComponentName.frontend)


def tiny_front_end(version: int, streaming: bool = False) -> nn.Module:
    subject = front_end_subject(version, streaming=streaming)
    return load_network(subject, subject.weights)


@cache
def golden(version: int) -> dict[str, Array]:
    with np.load(DATA / f"token2wav{version}_tiny" / "frontend.npz") as arrays:
        return {name: arrays[name] for name in arrays}


def forms(version: int) -> Iterator[str]:
    """Return the recorded forms: full or streaming attention, and `_more` for calls before the last."""
    yield from (name.partition("/")[0] for name in golden(version) if name.endswith("/mu64"))


def golden_inputs(version: int, form: str) -> dict[str, Array]:
    """Return the inputs of a form by name; before the last call, the last three tokens are look-ahead tokens."""
    inputs = {name: golden(version)[name] for name in ("token", "prompt_token", "prompt_feat", "embedding")}
    if version == 1:
        return inputs
    end = inputs["token"].shape[1] - (AHEAD if form.endswith("_more") else 0)
    return {**inputs, "token": inputs["token"][:, :end], "lookahead_token": inputs["token"][:, end:]}


def golden_outputs(version: int, form: str) -> dict[str, Array]:
    return {name: golden(version)[f"{form}/{name}64"] for name in OUTPUTS}


def agreement(actual: dict[str, Array], version: int, form: str) -> float:
    """Return the smallest signal-to-noise ratio of the three outputs to upstream's float64 values, in dB."""
    expected = golden_outputs(version, form)
    assert {name: values.shape for name, values in actual.items()} == {n: v.shape for n, v in expected.items()}
    return min(snr_db(actual[name], np.asarray(values, np.float64)) for name, values in expected.items())


def computed(module: nn.Module, inputs: dict[str, Array], dtype: torch.dtype = torch.float32) -> dict[str, Array]:
    """Compute a front end in `dtype`, with the float32 weights and inputs."""
    given = (torch.from_numpy(values) for values in inputs.values())
    arguments = [values.to(dtype) if values.is_floating_point() else values for values in given]
    with torch.no_grad():
        outputs: tuple[Tensor, ...] = module.to(dtype)(*arguments)
    return {name: values.numpy() for name, values in zip(OUTPUTS, outputs, strict=True)}


def contract(version: int) -> dict[str, list[int]]:
    """Return name -> shape of every tensor of the full-size front end."""
    shapes: dict[str, list[int]] = json.loads((DATA / f"contracts/frontend{version}.json").read_text())
    return shapes
