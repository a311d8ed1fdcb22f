"""The component `vocoder`, which turns a log-mel spectrogram into a waveform."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family
from cosybuild.config.groups.vocoder import F0Type
from cosybuild.models.components.component import Component
from cosybuild.models.cosyvoice.vocoder.context import context_frames
from cosybuild.models.cosyvoice.vocoder.interface import STEM, WEIGHTS, vocoder_spec
from cosybuild.models.cosyvoice.vocoder.parameters import PUBLISHED, VocoderParameters, with_values
from cosybuild.models.directory.vocoder import vocoder_hyperparameters
from cosybuild.models.spec import ModelSpec
from cosybuild.models.variant import Variant

if TYPE_CHECKING:
    from torch import nn

    from cosybuild.models.module_weights import Note


def _parameters(variant: Variant) -> VocoderParameters:
    return with_values(PUBLISHED[variant.family], variant.hyperparameters)


def _fault(family: Family, values: Mapping[str, Any]) -> str | None:
    try:
        with_values(PUBLISHED[family], values)
    except ValueError as error:
        return str(error)
    return None


def _spec(variant: Variant, _: float, __: bool) -> ModelSpec:
    """Return inputs and outputs; the frame rate is computed from the vocoder's hyper-parameters."""
    return vocoder_spec(_parameters(variant), variant.vocoder.cut)


def _exportable(network: nn.Module, variant: Variant) -> nn.Module:
    from cosybuild.models.cosyvoice.vocoder.hift import Hift
    from cosybuild.models.cosyvoice.vocoder.load import exportable

    assert isinstance(network, Hift)
    return exportable(network, variant.vocoder.cut, wide_f0=variant.vocoder.f0 is F0Type.float64)


def _load(variant: Variant, weights: Path | None, seed: int, note: Note, asked: str | None) -> nn.Module:
    from cosybuild.models.cosyvoice.vocoder.load import load_vocoder

    return load_vocoder(_parameters(variant), weights, seed=seed, note=note, asked=asked)


VOCODER = Component(
    name=ComponentName.vocoder,
    stem=STEM,
    weights=WEIGHTS,
    published={family: asdict(parameters) for family, parameters in PUBLISHED.items()},
    streaming=frozenset(),
    dynamic_batch=False,
    has_solver=False,
    read=vocoder_hyperparameters,
    fault=_fault,
    spec=_spec,
    load=_load,
    exportable=_exportable,
    reads_vocoder=True,
    serving=lambda variant: {"context_frames": list(context_frames(_parameters(variant)))},
)
