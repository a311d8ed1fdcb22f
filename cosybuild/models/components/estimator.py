"""The component `estimator`: the network of the flow decoder that the solver calls once per step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family
from cosybuild.models.components.component import Component
from cosybuild.models.components.state_dict import StateDictLoader
from cosybuild.models.cosyvoice.caching import cached_spec, frame_elements
from cosybuild.models.cosyvoice.families import FAMILIES, PREFIXES, STEM, estimator_spec, hyperparameter_fault
from cosybuild.models.directory.reader import WEIGHTS, estimator_hyperparameters
from cosybuild.models.spec import ModelSpec
from cosybuild.models.variant import Variant

if TYPE_CHECKING:
    from torch import nn


def _spec(variant: Variant, frames_per_second: float, dynamic_batch: bool) -> ModelSpec:
    spec = estimator_spec(variant.family, variant.hyperparameters, frames_per_second, dynamic_batch)
    if not variant.cached:
        return spec
    return cached_spec(spec, variant.family, variant.hyperparameters, variant.cache_frames)


def _network(variant: Variant) -> nn.Module:
    from cosybuild.models.cosyvoice.estimator.dit import DiT
    from cosybuild.models.cosyvoice.estimator.unet import UNet

    values = dict(variant.hyperparameters)
    if variant.family is Family.cosyvoice3:
        return DiT(**values)
    return UNet(**values, causal=variant.family is Family.cosyvoice2)


def _exportable(network: nn.Module, variant: Variant) -> nn.Module:
    from cosybuild.models.cosyvoice.estimator.cached import CachedEstimator
    from cosybuild.models.cosyvoice.estimator.exportable import ExportableEstimator

    if variant.cached:
        return CachedEstimator(network)
    return ExportableEstimator(network, variant.streaming)


def _serving(variant: Variant) -> dict[str, int | None]:
    """Return the largest number of cached frames, and the bytes of one cached frame in float32 for one solver step.

    The result is empty if the variant is not cached.
    """
    if not variant.cached:
        return {}
    each = frame_elements(variant.family, variant.hyperparameters) * 4
    return {"cache_frames": variant.cache_frames, "cache_bytes_per_frame": each}


ESTIMATOR = Component(
    name=ComponentName.estimator,
    stem=STEM,
    weights=WEIGHTS,
    published={family: facts.hyperparameters for family, facts in FAMILIES.items()},
    streaming=frozenset(family for family, facts in FAMILIES.items() if facts.streaming),
    cached=frozenset(family for family, facts in FAMILIES.items() if facts.streaming),
    dynamic_batch=True,
    has_solver=True,
    read=estimator_hyperparameters,
    fault=hyperparameter_fault,
    spec=_spec,
    load=StateDictLoader(_network, WEIGHTS, PREFIXES),
    exportable=_exportable,
    serving=_serving,
)
