"""Prove that a graph computes the network, by the cases, contract and solver runs of a build's verification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild.backends import onnxruntime_backend
from cosybuild.building.events import EventBus
from cosybuild.building.plan import make_plan
from cosybuild.building.runner import execute
from cosybuild.building.stage import Emit
from cosybuild.config.groups.precision import Target
from cosybuild.config.groups.verify import VerifySettings
from cosybuild.errors import BuildError, VerificationError
from cosybuild.models.spec import ModelSpec
from cosybuild.onnxgraph.files import load_structure
from cosybuild.onnxgraph.summary import layer_norms
from cosybuild.request import Request
from cosybuild.run.prepare import sources_of
from cosybuild.stages.reference import ReferenceStage
from cosybuild.store.store import Store
from cosybuild.verification.calls import infer_case
from cosybuild.verification.cases import lowered_cases
from cosybuild.verification.graph_limits import graph_limits
from cosybuild.verification.hops import ModelForm, describe, error_budget
from cosybuild.verification.judge import Advice, Limits, judge
from cosybuild.verification.property_checks import Examined, check_contract
from cosybuild.verification.reference import Reference, read_reference
from cosybuild.verification.scope import cases_of, rollouts_of, verify_settings
from cosybuild.verification.solver_comparison import bounds_of, compare_solver_runs

if TYPE_CHECKING:
    from onnx import ModelProto

_NAMES = {Target.fp32: "float32", Target.fp16: "float16", Target.bf16: "bfloat16"}
_LONGEST_NARROW = 256
"""The largest number of frames of a solver run with a 16-bit graph. A CPU computes such graphs slowly."""

_ADVICE = Advice("Next: do not use the file; its outputs are wrong.", "Next: do not use the file; it overflows.")


@dataclass(frozen=True)
class Candidate:
    """A graph to compare with the network, whose inputs and outputs have the network's names.

    Attributes:
        path: the file, or its copy with the network's names (`renamed_copy.rename_interface`).
        structure: the graph without external data.
        limits: the gates for the cases, from the settings of the user and the graph's number type.
        strict: the gates for the probes: those of the default verification settings.
    """

    path: Path
    structure: ModelProto
    limits: Limits
    strict: Limits

    @property
    def narrow(self) -> bool:
        """True if the graph computes in 16 bits."""
        return self.limits.target is not Target.fp32


def candidate(path: Path, request: Request) -> Candidate:
    """Read a graph, and return it with the gates that its outputs must meet.

    Args:
        path: a graph whose inputs and outputs have the network's names.
        request: the request of a build of the network.
    """
    structure = load_structure(path)
    limits, strict = (
        graph_limits(structure, verify, request.subject) for verify in (verify_settings(request), VerifySettings())
    )
    return Candidate(path, structure, limits, strict)


def reference_of(request: Request, store: Store) -> tuple[Reference, bool]:
    """Return PyTorch's outputs for the cases of a build, and True if the store already had them.

    Otherwise the step `reference` computes them, and the store keeps them.

    Raises:
        CosybuildError: the step failed.
    """
    stages, sources = (ReferenceStage(),), sources_of(request, store)
    plan = make_plan(stages, request, sources, request.environment, store)
    outcome = execute(plan, request, sources, request.environment, store, EventBus([]))
    if outcome.failure is not None:
        raise BuildError(outcome.failure.message, hint=outcome.failure.hint)
    (record,) = outcome.records
    return read_reference(record.outputs["reference"].path), record.action == "hit"


def prove(one: Candidate, request: Request, reference: Reference, emit: Emit) -> dict[str, Any]:
    """Verify a graph like the graph of a build, and return the measured figures as JSON data.

    Args:
        one: the graph and its gates.
        request: the request of a build of the network.
        reference: PyTorch's outputs, from `reference_of`.
        emit: receives progress and warnings.

    Raises:
        VerificationError: a property of the contract, a case, the error over all cases or a solver run misses its gate.
    """
    verify, subject, target = verify_settings(request), request.subject, one.limits.target
    session = onnxruntime_backend.load(one.path, provider=verify.provider, threads=verify.threads)
    spec = subject.spec
    examined = Examined(one.path, _declared(spec, one), session, spec, session.infer_in_place, _NAMES[target])
    contract = check_contract(examined, subject, request.profiles, verify.seed, emit)
    everything = cases_of(request)
    cases = lowered_cases(everything) if one.narrow else everything
    outputs, judged = {}, []
    for case in cases:
        expected = reference.find(case.draw)
        assert expected is not None, case.name
        outputs[case.name] = infer_case(session, case, case.inputs(spec))
        judged.append(judge(case, session.device, outputs[case.name], expected, one.limits))
        judged[-1].check(_ADVICE)
    if not one.narrow:
        _check_hop(outputs, reference, one.limits, request)
    rollouts = tuple(r for r in rollouts_of(request) if not one.narrow or r.lengths[-1] <= _LONGEST_NARROW)
    runs = compare_solver_runs(
        session.infer, session.device, rollouts, reference, bounds_of(request, target), request, emit
    )
    warnings = [warning for record in judged for warning in record.warnings]
    ratios = [record.figures["snr_db"] for record in judged]
    return {"mode": verify.mode.value, "cases": len(cases), "snr_db": min(ratios, default=None),
            "device": session.device, "contract": contract,
            "solver": runs, "reference": reference.said, "warnings": warnings}  # fmt: skip


def _declared(spec: ModelSpec, one: Candidate) -> ModelSpec:
    """Return `spec`, without `norms` if the graph does not have each layer norm as one node.

    The epsilons of such a graph cannot be counted.
    """
    found = layer_norms(one.structure)
    return spec if sum(found.values()) == sum(spec.norms.values()) else replace(spec, norms={})


def _check_hop(
    outputs: Mapping[str, Mapping[str, Any]], reference: Reference, limits: Limits, request: Request
) -> None:
    """Check that the error of the file against PyTorch, over all cases, meets the gate of an export.

    Raises:
        VerificationError: the error misses the gate.
    """
    own = {case.name: found for case, found in zip(reference.cases, reference.outputs, strict=True)}
    forms = [ModelForm("torch", own, {}), ModelForm("file", outputs, verify_settings(request).hops.export)]
    for hop in error_budget(forms, limits):
        if hop.missed:
            raise VerificationError(f"Case {hop.case}: {'; '.join(map(str, hop.missed))}: {describe([hop])}.")
