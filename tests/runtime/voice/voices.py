"""Voices of the tiny model directories, around PyTorch modules in any type, and their golden mels."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any

import numpy as np
import torch

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import ModelSettings
from cosybuild.models.components.registry import COMPONENTS, serving_facts
from cosybuild.models.load import load_network
from cosybuild.models.resolve import resolve_subject
from cosybuild.runtime.voice import Flow, Noise, Voice
from cosybuild.runtime.voice.arrays import Array, Part
from cosybuild.runtime.voice.facts import facts_of
from tests.models.fixtures import DATA

VERSIONS = (1, 2, 3)
AHEAD = 3
_FLOW = (ComponentName.frontend, ComponentName.estimator)


@cache
def part(version: int, component: ComponentName, streaming: bool, dtype: torch.dtype) -> tuple[Part, dict[str, Any]]:
    """Return a network that takes and returns arrays by name, and the facts that its manifest states."""
    directory = str(DATA / f"token2wav{version}_tiny")
    subject = resolve_subject(ModelSettings(streaming=streaming), directory, False, component)
    network = COMPONENTS[component].exportable(load_network(subject, subject.weights), subject.variant).to(dtype)
    inputs = [tensor.name for tensor in subject.spec.inputs]
    outputs = [tensor.name for tensor in subject.spec.outputs]

    def call(**given: Array) -> dict[str, Array]:
        assert sorted(given) == sorted(inputs)
        tensors = [torch.from_numpy(np.array(given[name])) for name in inputs]
        with torch.no_grad():
            made = network(*(t.to(dtype) if t.is_floating_point() else t for t in tensors))
        results = made if isinstance(made, tuple) else (made,)
        return {name: result.numpy() for name, result in zip(outputs, results, strict=True)}

    facts = {"family": subject.family.value, "hyperparameters": subject.hyperparameters}
    facts |= serving_facts(component, subject.variant) | {"prompt_mel": subject.prompt_mel}
    return call, facts | ({"solver": asdict(subject.solver)} if subject.solver else {})


def module_voice(version: int, dtype: torch.dtype = torch.float64) -> Voice:
    """Return the voice of a tiny directory around modules of one type."""
    (frontend, flow), (estimator, decoder) = (part(version, each, False, dtype) for each in _FLOW)
    vocoder, sound = part(version, ComponentName.vocoder, False, dtype)
    streaming = None if version == 1 else Flow(*(part(version, each, True, dtype)[0] for each in _FLOW))
    return Voice(frontend, estimator, vocoder, facts_of(flow, decoder, sound), streaming=streaming)


@cache
def golden(version: int) -> dict[str, Array]:
    """Return upstream's inputs, its noise of the solver as `z`, and its mels: form -> mel (1, 80, frames)."""
    found: dict[str, Array] = {}
    for file in ("frontend.npz", "mel.npz"):
        with np.load(DATA / f"token2wav{version}_tiny" / file) as arrays:
            found |= {name.removesuffix("/mel64"): arrays[name] for name in arrays}
    return found


def forms(version: int) -> list[str]:
    return [name for name in ("full", "full_more", "streaming", "streaming_more") if name in golden(version)]


def prompt(version: int) -> tuple[Array, Array, Array]:
    """Return prompt tokens, prompt mel and speaker vector of the golden data."""
    tokens, mel, speaker = (golden(version)[name] for name in ("prompt_token", "prompt_feat", "embedding"))
    return tokens, mel, speaker


def golden_mel(voice: Voice, version: int, form: str) -> Array:
    """Compute a recorded form; before the last call, the last three tokens are look-ahead tokens."""
    tokens = golden(version)["token"]
    end = tokens.shape[1] - (AHEAD if form.endswith("_more") else 0)
    return voice.mel(
        tokens[:, :end],
        *prompt(version),
        noise=golden(version)["z"],
        streaming=form.startswith("streaming"),
        lookahead=tokens[:, end:],
    )


def tokens(version: int, count: int, seed: int = 0) -> Array:
    """Draw target tokens, (count,)."""
    return np.random.default_rng(seed).integers(0, module_voice(version).facts.vocabulary, count)


def source_noise(version: int, frames: int) -> Noise:
    """Draw noise for the solver and the source as arrays."""
    random, facts = np.random.default_rng(5), module_voice(version).facts
    source = random.normal(size=(1, frames * facts.hop, facts.harmonics)).astype(np.float32)
    return Noise(random.normal(size=(1, facts.mel, 2 * frames)).astype(np.float32), source)
