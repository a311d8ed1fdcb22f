"""Find what a wrong file computes: the network with other weights, or the network with a known mistake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from cosybuild.backends.session import InferenceFailed
from cosybuild.certifying.mistakes.registry import mistakes_of
from cosybuild.certifying.module_copies import sharing_copy
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
"""If the signal-to-noise ratios of two mistakes differ by at most this, both are named: the probes cannot decide."""


@dataclass(frozen=True)
class Examination:
    """An attention variant of the network, and the outputs of a file for the probes of this variant.

    Attributes:
        subject: the network in this variant.
        module: the exportable PyTorch module with the weights of the model directory.
        probes: the cases, with the outputs of `module`.
        actual: the file's outputs, one mapping for each case.
        candidate: the file, with its inputs and outputs renamed to those of the network.
    """

    subject: Subject
    module: nn.Module
    probes: Probes
    actual: tuple[Outputs, ...]
    candidate: Candidate


def known_mistakes(found: Examination, module: nn.Module) -> tuple[Known, ...]:
    """Return the known mistakes that explain the file's outputs, the best match first.

    Each mistake is made in a copy of the module. It explains the file if the copy computes the file's outputs.

    Args:
        found: the file and the variant of the network.
        module: the right module, with the weights of the model directory or of the file.
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
            continue  # the mistake does not change the outputs for the probes enough to be seen
        compared = agreement(found.actual, outputs, found.probes, limits)
        if compared.fault is None:
            matched.append(Known(mistake.name, mistake.says, mistake.remedy, compared.snr_db))
    matched.sort(key=lambda known: -_figure(known))
    return tuple(known for known in matched if _figure(known) >= _figure(matched[0]) - _ALIKE_DB)


def other_weights(found: Examination) -> Iterator[tuple[nn.Module, FoundWeights, list[str]]]:
    """Yield modules with the weights of the file, if they differ from those of the model directory.

    The file's tensors are assigned to the module, and to the module with the layers fused as in an export. If the file
    lacks a tensor for one of the two, that one is skipped.

    Yields:
        The module with the file's weights, these weights, and the names of the tensors that differ.
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
