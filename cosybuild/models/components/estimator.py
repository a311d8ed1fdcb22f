"""The component `estimator`, the network of the flow decoder that the solver calls once per step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family
from cosybuild.models.components.component import Component
from cosybuild.models.components.state_dict import StateDictLoader
from cosybuild.models.cosyvoice.families import FAMILIES, PREFIXES, STEM, estimator_spec, hyperparameter_fault
from cosybuild.models.directory.reader import WEIGHTS, estimator_hyperparameters
from cosybuild.models.spec import ModelSpec
from cosybuild.models.variant import Variant

if TYPE_CHECKING:
    from torch import nn


def _spec(variant: Variant, frames_per_second: float, dynamic_batch: bool) -> ModelSpec:
    return estimator_spec(variant.family, variant.hyperparameters, frames_per_second, dynamic_batch)


def _network(variant: Variant) -> nn.Module:
    from cosybuild.models.cosyvoice.estimator.dit import DiT
    from cosybuild.models.cosyvoice.estimator.unet import UNet

    values = dict(variant.hyperparameters)
    if variant.family is Family.cosyvoice3:
        return DiT(**values)
    return UNet(**values, causal=variant.family is Family.cosyvoice2)


def _exportable(network: nn.Module, variant: Variant) -> nn.Module:
    from cosybuild.models.cosyvoice.estimator.exportable import ExportableEstimator

    return ExportableEstimator(network, variant.streaming)


ESTIMATOR = Component(
    name=ComponentName.estimator,
    stem=STEM,
    weights=WEIGHTS,
    published={family: facts.hyperparameters for family, facts in FAMILIES.items()},
    streaming=frozenset(family for family, facts in FAMILIES.items() if facts.streaming),
    dynamic_batch=True,
    has_solver=True,
    read=estimator_hyperparameters,
    fault=hyperparameter_fault,
    spec=_spec,
    load=StateDictLoader(_network, WEIGHTS, PREFIXES),
    exportable=_exportable,
)
