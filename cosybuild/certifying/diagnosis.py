"""The search for what a refuted file computes instead: the network with other weights, or with a known mistake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from cosybuild.backends.session import InferenceFailed
from cosybuild.certifying.copies import sharing_copy
from cosybuild.certifying.mistakes.registry import mistakes_of
from cosybuild.certifying.probes import Outputs, Probes, agreement, outputs_of, session_of
from cosybuild.certifying.proof import Candidate
from cosybuild.certifying.verdict import Known
from cosybuild.certifying.weights import (
    FoundWeights,
    copy_with_weights,
    differing_names,
    exchange_position_biases,
    weights_of,
)
from cosybuild.models.load import prepare_for_export
from cosybuild.models.subject import Subject
from cosybuild.onnxgraph.files import load_model

_ALIKE_DB = 6.0
"""Mistakes whose agreement differs by at most this are both named: the probes cannot tell them apart."""


@dataclass(frozen=True)
class Examination:
    """A variant of the network, and the outputs of a file for the probes of this variant.

    Attributes:
        subject: the variant.
        module: the exportable module with the directory's weights.
        probes: the cases, with the outputs of `module`.
        actual: the file's outputs for the same cases.
        candidate: the file, as a graph with the network's names.
    """

    subject: Subject
    module: nn.Module
    probes: Probes
    actual: tuple[Outputs, ...]
    candidate: Candidate


def known_mistakes(found: Examination, module: nn.Module) -> tuple[Known, ...]:
    """Return the known mistakes with which a module computes the file's outputs, the best match first.

    Args:
        found: the file and the variant of the network.
        module: the module in which the mistakes are planted: with the directory's weights, or the file's.
    """
    spec, cases, limits = found.subject.spec, found.probes.cases, found.candidate.strict
    right = outputs_of(session_of(module, spec), cases, spec)
    matched = []
    for mistake in mistakes_of(found.subject):
        planted = mistake.plant(module, [t.name for t in spec.inputs], [t.name for t in spec.outputs])
        try:
            outputs = outputs_of(session_of(planted, spec), cases, spec)
        except InferenceFailed:
            continue
        if agreement(outputs, right, found.probes, limits).fault is None:
            continue  # the probes do not show it
        compared = agreement(found.actual, outputs, found.probes, limits)
        if compared.fault is None:
            matched.append(Known(mistake.name, mistake.says, mistake.remedy, compared.snr_db))
    matched.sort(key=lambda known: -_figure(known))
    return tuple(known for known in matched if _figure(known) >= _figure(matched[0]) - _ALIKE_DB)


def other_weights(found: Examination) -> Iterator[tuple[nn.Module, FoundWeights, list[str]]]:
    """Yield modules with the weights of the file, and the names of the tensors that differ from the directory's.

    The weights are found for the module as it is, and as it is fused for an export. Nothing is yielded where the file
    lacks a tensor of the module.
    """
    model = load_model(found.candidate.path)
    for fused in (False, True):
        module = sharing_copy(found.module)
        if fused:
            prepare_for_export(module)
        weights = weights_of(model, module)
        if weights.lacking:
            continue
        forms = [form for form in (weights, exchange_position_biases(weights)) if form is not None]
        state = module.state_dict()
        differences = [differing_names(form, state, found.candidate.narrow) for form in forms]
        if all(differences):
            for form, names in zip(forms, differences, strict=True):
                yield copy_with_weights(module, form), form, names


def _figure(known: Known) -> float:
    return float("-inf") if known.snr_db is None else known.snr_db
