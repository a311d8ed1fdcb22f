"""Certify one ONNX file: decide if it computes the network of the model directory, and if not, find the mistake.

The file is first compared with the network on a few cases, the probes. A file that agrees is then verified like a
build. For a file that does not agree, other weights and known mistakes are tried.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cosybuild.backends import onnxruntime_backend
from cosybuild.backends.session import InferenceFailed, Session
from cosybuild.building.stage import Emit
from cosybuild.certifying.diagnosis import Examination, known_mistakes, other_weights
from cosybuild.certifying.match import Match, requests_of
from cosybuild.certifying.mistakes.estimator import other_variant
from cosybuild.certifying.mistakes.mistake import EPSILON
from cosybuild.certifying.mistakes.registry import mistakes_of
from cosybuild.certifying.overflow import overflow
from cosybuild.certifying.probes import agreement, outputs_of, probes_of, session_of
from cosybuild.certifying.proof import Candidate, candidate, prove, reference_of
from cosybuild.certifying.renamed_copy import rename_interface
from cosybuild.certifying.task import Task
from cosybuild.certifying.verdict import Known, Outcome, Verdict
from cosybuild.errors import ConfigurationError, CosybuildError, ExportError, ModelError, VerificationError
from cosybuild.models.load import load_module
from cosybuild.request import Request
from cosybuild.run.prepare import open_store
from cosybuild.verification.scope import verify_settings

_UNEXPLAINED = (
    "It matches no known mistake. Its weights are those of the directory, or they cannot be found in the file by name, "
    "layer and shape."
)


def certify(task: Task, found: Match, blank: Verdict, emit: Emit) -> Verdict:
    """Return the verdict on an ONNX file that has the inputs and outputs of a known network.

    Args:
        task: the file and the settings.
        found: the network, and the meaning of the file's inputs and outputs.
        blank: the verdict to complete; its outcome is `unreadable`.
        emit: receives warnings of the store.

    Raises:
        CosybuildError: the model directory or a setting cannot be used.
    """
    if found.ports.absent:
        blank = replace(blank, notes=(f"It has no input {' and '.join(found.ports.absent)}.",))
    try:
        forms = requests_of(found)
    except ConfigurationError as error:
        return replace(blank, outcome=Outcome.unmatched, reason=_reason(error))
    blank = replace(blank, family=next(iter(forms.values())).subject.family.value)
    with tempfile.TemporaryDirectory(prefix="cosybuild-certify-") as scratch:
        first = next(iter(forms.values()))
        try:
            one = candidate(rename_interface(task.path, found.ports, first.subject.spec, Path(scratch)), first)
            verify = verify_settings(first)
            session = onnxruntime_backend.load(one.path, provider=verify.provider, threads=verify.threads)
        except (ExportError, ModelError) as error:
            return replace(blank, reason=_reason(error))
        blank = replace(blank, dtype=one.limits.target.value)
        try:
            examined = _examined(session, one, forms)
        except InferenceFailed as error:
            reason = f"ONNX Runtime cannot compute a short case with it: {error}"
            return replace(blank, outcome=Outcome.wrong, reason=reason)
        return _judged(task, blank, forms, examined, emit)


def _examined(session: Session, one: Candidate, forms: Mapping[bool, Request]) -> dict[bool, Examination]:
    """Run the file on the probes of each attention variant, and return the results for `streaming` False and True.

    Raises:
        InferenceFailed: ONNX Runtime cannot run the file on a probe.
        CheckpointError: the weights of the model directory cannot be used.
    """
    found = {}
    for streaming, request in forms.items():
        subject = request.subject
        module = load_module(subject, subject.weights)
        probes = probes_of(module, subject)
        actual = outputs_of(session, probes.cases, subject.spec)
        found[streaming] = Examination(subject, module, probes, actual, one)
    return found


def _judged(
    task: Task, blank: Verdict, forms: Mapping[bool, Request], examined: Mapping[bool, Examination], emit: Emit
) -> Verdict:
    results = {s: agreement(e.actual, e.probes.right, e.probes, e.candidate.strict) for s, e in examined.items()}
    expected = task.expected if len(forms) > 1 else next(iter(forms))
    agreeing = [streaming for streaming, result in results.items() if result.fault is None]

    def variant(streaming: bool) -> bool | None:
        return streaming if len(forms) > 1 else None

    right = [streaming for streaming in agreeing if expected in (None, streaming)]
    flowing = overflow(examined[(right or list(examined))[0]])
    if flowing is not None:
        return replace(blank, outcome=Outcome.wrong, reason=flowing[0], mistakes=(flowing[1],))
    if right:
        return _proved(replace(blank, streaming=variant(right[0])), forms[right[0]], examined[right[0]], emit)
    if agreeing:
        mistake = other_variant(bool(expected))
        known = Known(mistake.name, mistake.says, mistake.remedy, results[agreeing[0]].snr_db)
        reason = results[bool(expected)].fault or ""
        return replace(blank, outcome=Outcome.wrong, streaming=variant(agreeing[0]), reason=reason, mistakes=(known,))
    tried = [streaming for streaming in examined if expected in (None, streaming)]
    nearest = max(tried, key=lambda streaming: results[streaming].snr_db)
    blank = replace(blank, outcome=Outcome.wrong, reason=results[nearest].fault or "")
    ordered = [nearest, *(streaming for streaming in examined if streaming != nearest)]
    for streaming in ordered:
        mistakes = known_mistakes(examined[streaming], examined[streaming].module)
        if mistakes:
            return replace(blank, streaming=variant(streaming), mistakes=mistakes)
    notes = []
    for streaming in ordered:
        for module, weights, names in other_weights(examined[streaming]):
            found = examined[streaming]
            outputs = outputs_of(session_of(module, found.subject.spec), found.probes.cases, found.subject.spec)
            said = f"{len(names)} of {len(weights.tensors)} tensors differ from the directory's, such as {names[0]}"
            same = agreement(found.actual, outputs, found.probes, found.candidate.strict)
            if same.fault is None and expected in (None, streaming):
                reason = f"It computes the network with other weights: {said}"
                return replace(blank, outcome=Outcome.other_weights, streaming=variant(streaming), reason=reason,
                               figures={"snr_db": same.snr_db})  # fmt: skip
            mistakes = known_mistakes(found, module)
            if same.fault is None:
                wrong = other_variant(not streaming)
                mistakes = (Known(wrong.name, wrong.says, wrong.remedy, same.snr_db),)
            if mistakes:
                note = f"It also has other weights: {said}."
                return replace(blank, streaming=variant(streaming), mistakes=mistakes, notes=(*blank.notes, note))
            notes = [f"It has other weights ({said}), but the network with these weights computes something else."]
    return replace(blank, notes=(*blank.notes, *(notes or [_UNEXPLAINED])))


def _proved(blank: Verdict, request: Request, examined: Examination, emit: Emit) -> Verdict:
    """Verify a file that agrees with the network on the probes as completely as a build, and return the verdict."""
    with open_store(request.settings.store, lambda message: emit("warning", message=message)) as store:
        reference, stored = reference_of(request, store)
        try:
            figures = prove(examined.candidate, request, reference, emit)
        except VerificationError as error:
            # The check of the norms reads the graph, because a wrong epsilon hardly changes the outputs of the probes.
            named = [m for m in mistakes_of(request.subject) if m.name == EPSILON and "property norms" in error.message]
            mistakes = tuple(Known(m.name, m.says, m.remedy) for m in named)
            return replace(blank, outcome=Outcome.wrong, reason=error.message, mistakes=mistakes)
    notes = (*blank.notes, "The reference is that of an earlier run.") if stored else blank.notes
    return replace(blank, outcome=Outcome.right, figures=figures, notes=notes)


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, CosybuildError) else str(error)
