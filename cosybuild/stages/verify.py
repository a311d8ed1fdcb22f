"""The stage that compares the float32 graph with the reference: single calls, then complete solver runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cosybuild import figure
from cosybuild.building.stage import Emit, RunContext, Stage
from cosybuild.config.groups.export import Exporter
from cosybuild.config.groups.model import Family
from cosybuild.config.groups.precision import Target
from cosybuild.config.groups.verify import HopGates, VerifyMode, VerifySettings
from cosybuild.errors import VerificationError
from cosybuild.models.module_state import check_same_state
from cosybuild.models.subject import Subject
from cosybuild.request import Request
from cosybuild.store.artifact import Artifact
from cosybuild.store.result import StageResult
from cosybuild.verification.calls import frozen_size, infer_case
from cosybuild.verification.cases import Case, lowered_cases
from cosybuild.verification.graph_limits import graph_limits
from cosybuild.verification.hops import Hop, ModelForm, describe, error_budget
from cosybuild.verification.judge import Advice, Judged, Limits, judge
from cosybuild.verification.property_checks import Examined, check_contract
from cosybuild.verification.reference import Reference, read_reference
from cosybuild.verification.scope import (
    cases_of,
    contract_sizes,
    coverage,
    given_digests,
    output_settings,
    rollouts_of,
    stated_gates,
    verified_profiles,
    verify_settings,
)
from cosybuild.verification.solver_comparison import bounds_of, compare_solver_runs

if TYPE_CHECKING:
    from cosybuild.numerics.inputs import Array

SCHEMA = 2
OPTIMISER = "onnxruntime"
"""Name, in the error budget, of the last conversion of a user's ONNX file that no step changed: the graph optimisations
of ONNX Runtime, without which the reference runs.
"""
EXPORTED = "graph@export"
"""Slot of the graph as the export step wrote it, before any later step changed it."""

CHEAP = 128
"""Largest number of frames of the cases for the error budget. The error of a conversion does not depend on the
length.
"""


class VerifyStage(Stage[Request]):
    """The stage that compares the float32 graph with the reference. It fills the slot `verification`.

    The record in this slot has the figures of all cases, the solver runs, and the error of each conversion.
    """

    name = "verify"
    does = "compares the graph with the model"
    version = 4
    needs = ("graph", f"{EXPORTED}?", "reference")
    makes = ("verification",)
    packages = ("onnxruntime", "onnxruntime-gpu")
    # Rounding errors differ between CPUs.
    deterministic = False

    def settings(self, request: Request) -> Mapping[str, Any]:
        """Return the settings that change the result. The cases are in the key through the content of the reference."""
        verify, bounds = verify_settings(request), bounds_of(request, Target.fp32)
        return {
            "mode": verify.mode.value,
            "rtol": verify.rtol,
            "atol": verify.atol,
            "snr_db": verify.snr_db,
            **stated_gates(verify, request.subject.spec),
            "exhaustive": verify.exhaustive,
            "threads": verify.threads,
            "provider": verify.provider.value,
            "hops": asdict(verify.hops),
            "solver": bounds.facts() if bounds is not None and rollouts_of(request) else None,
            "coverage": coverage(request),
            "profiles": verified_profiles(request),
            **({} if verify.mode is VerifyMode.strict else contract_sizes(request)),
            "spec": request.subject.spec.facts(),
            "streaming": request.subject.streaming,
            "hyperparameters": dict(request.subject.hyperparameters),
            "seed": verify.seed,
            **given_digests(request),
            **output_settings(request),
        }

    def run(self, context: RunContext) -> StageResult:
        from cosybuild.backends.isolated import open_session, peak_of, warnings_of
        from cosybuild.onnxgraph.files import load_structure

        request: Request = context.request
        verify, subject = verify_settings(request), request.subject
        graph_metrics, reference_metrics = (context.metrics.get(slot, {}) for slot in (EXPORTED, "reference"))
        check_same_state(graph_metrics, reference_metrics, _name_of(subject))
        reference, bounds = read_reference(context.inputs["reference"].path), bounds_of(request, Target.fp32)
        limits = graph_limits(load_structure(context.inputs["graph"].path), verify, subject)
        way = _HopForms(request, reference, context.inputs["graph"], context.inputs.get(EXPORTED), limits)
        everything = cases_of(request)
        shared = _on_every_hop(everything, verify)
        exported = way.exported_outputs(shared)
        session = open_session(way.graph.path, subject, verify.provider, verify.threads)
        warnings = warnings_of(session, context.emit)
        # Check the contract first. It takes seconds and names the violated property, while the cases only show that
        # values differ.
        examined = Examined(way.graph.path, subject.spec, session, subject.spec, session.infer_in_place, "float32")
        contract = check_contract(examined, subject, request.profiles, verify.seed, context.emit, request.given)
        judged, kept = [], {}
        for index, case in enumerate(everything):
            outputs = infer_case(session, case, case.inputs(subject.spec), request)
            kept.update({case.name: outputs} if case in shared else {})
            judged.append(_judged_case(way, case, outputs, session.device, context.emit))
            context.emit("progress", done=index + 1, total=len(everything), what=case.name)
        hops = way.budget(exported, kept, shared)
        _check_hops(hops, context.emit)
        solver = compare_solver_runs(
            session.infer, session.device, rollouts_of(request), reference, bounds, request, context.emit
        )
        metrics = {
            "mode": verify.mode.value,
            "reference": reference.said,
            "device": session.device,
            "tolerance": _tolerance(limits),
            "cases": len(everything),
            "worst": _worst(judged),
            "contract": contract,
            "hops": [hop.facts() for hop in hops],
            "solver": solver,
            "coverage": coverage(request),
            "warnings": [*warnings, *(line for one in judged for line in one.warnings)],
        }
        path = context.workdir / "verification.json"
        record = {"schema": SCHEMA, **metrics, "seed": verify.seed, "cases": [one.facts() for one in judged]}
        path.write_text(figure.dumps(record, indent=1) + "\n", encoding="utf-8")
        return StageResult({"verification": [path]}, metrics, peak_of(session))


@dataclass(frozen=True)
class _HopForms:
    """The representations of the model between which the error budget measures conversions.

    They are the reference, the exported graph and the final graph. `limits` holds the limits of the final graph's
    outputs.
    """

    request: Request
    reference: Reference
    graph: Artifact
    exported: Artifact | None
    limits: Limits

    @property
    def has_two(self) -> bool:
        """True if a step changed the exported graph, so that the exported graph and the final graph differ."""
        return self.exported is not None and self.exported.digest != self.graph.digest

    def exported_outputs(self, cases: Sequence[Case]) -> dict[str, dict[str, Array]]:
        """Return case name -> outputs of the exported graph; empty if there is only one graph.

        The session, which holds the weights, is freed on return.
        """
        from cosybuild.backends.isolated import open_session

        if not self.has_two or not cases:
            return {}
        assert self.exported is not None
        verify, subject = verify_settings(self.request), self.request.subject
        session = open_session(self.exported.path, subject, verify.provider, verify.threads)
        return {case.name: infer_case(session, case, case.inputs(subject.spec), self.request) for case in cases}

    def expected(self, case: Case) -> Mapping[str, Array]:
        found = self.reference.find(case.draw)
        assert found is not None, case.name
        return found

    def budget(
        self,
        exported: Mapping[str, Mapping[str, Array]],
        graph: Mapping[str, Mapping[str, Array]],
        cases: Sequence[Case],
    ) -> tuple[Hop, ...]:
        """Return the error of each conversion (hop).

        Args:
            exported: case name -> outputs of the exported graph; empty if there is only one graph.
            graph: case name -> outputs of the final graph.
            cases: the cases on which errors are measured.
        """
        hops = verify_settings(self.request).hops
        # If the model itself computes in 16 bits, all conversions have the gate of that type.
        gates = hops if self.limits.tolerance is not None else HopGates(*[dict(self.limits.gate)] * 3)
        foreign, simplified = self.request.subject.graph is not None, self.request.settings.simplify is not None
        forms = []
        exact = {case.name: self.reference.find_exact(case.draw) for case in cases}
        if cases and None not in exact.values():
            forms.append(ModelForm("float64", {name: found for name, found in exact.items() if found is not None}, {}))
        own = {case.name: self.expected(case) for case in cases}
        forms.append(ModelForm("original" if foreign else "torch", own, gates.torch))
        if self.has_two:
            forms.append(ModelForm("export", exported, gates.export))
        if self.has_two or (foreign and simplified):
            forms.append(ModelForm("simplify", graph, gates.simplify))
        else:
            forms.append(ModelForm(OPTIMISER if foreign else "export", graph, gates.export))
        return error_budget(forms, self.limits)


def _name_of(subject: Subject) -> str:
    """Return the model's name for error messages.

    It is the class of a user's module, or the component of a model directory.
    """
    target = subject.hyperparameters.get("target")
    return str(target["_target_"]) if isinstance(target, Mapping) else f"The {subject.component.value} of the model"


def _on_every_hop(cases: Sequence[Case], verify: VerifySettings) -> tuple[Case, ...]:
    if verify.mode is VerifyMode.upstream:
        return ()
    return tuple(cases) if verify.exhaustive else lowered_cases(cases, CHEAP)


def _judged_case(way: _HopForms, case: Case, actual: Mapping[str, Array], device: str, emit: Emit) -> Judged:
    """Compare the outputs of one case with the reference, and return the figures.

    Raises:
        VerificationError: an output does not meet its limits; the message names the conversion (hop) with the fault.
    """
    judged = judge(case, device, actual, way.expected(case), way.limits)
    fault = judged.fault
    if fault is not None:
        hops = way.budget(way.exported_outputs([case]), {case.name: actual}, [case])
        facts = {"case": case.facts(), "output": fault.output, "hops": [hop.facts() for hop in hops]}
        emit("note", message=f"the case that fails: {case.name}", **facts, **fault.facts)
        judged.check(_advice(way.request), describe(hops))
    return judged


def _advice(request: Request) -> Advice:
    ways = ["simplify=none"] if request.settings.simplify is not None else []
    if request.subject.graph is None:
        other = "dynamo" if request.settings.export.exporter is Exporter.torchscript else "torchscript"
        ways.append(f"export.exporter={other}")
    where = f" To see where it begins, compare {' and '.join(ways)}." if ways else ""
    text = (
        f"Next: do not use the artifact, because its outputs are wrong.{where} To repeat only this check, keep "
        "verify.seed as it is."
    )
    if request.subject.family is Family.module and request.subject.spec.symbols:
        from cosybuild.stages.export import sizes_of_example

        text = f"{text} {frozen_size(request, sizes_of_example(request))}"
    return Advice(text, text)


def _tolerance(limits: Limits) -> dict[str, float | bool | None]:
    """Return the limits as JSON data.

    A model that computes in 16 bits has no tolerance, only the signal-to-noise ratio.
    """
    bounds = {} if limits.tolerance is None else asdict(limits.tolerance)
    return {**bounds, "snr_db": limits.gate.get("snr_db")}


def _check_hops(hops: Sequence[Hop], emit: Emit) -> None:
    if not any(hop.missed for hop in hops):
        return
    guilty = next(hop for hop in hops if hop.missed)
    emit("note", message=describe(hops), hops=[hop.facts() for hop in hops])
    raise VerificationError(
        f"Case {guilty.case}: {'; '.join(map(str, guilty.missed))}: {describe(hops)}.",
        hint=f"Next: verify.hops.{'export' if guilty.name == OPTIMISER else guilty.name} has the gate of this hop; "
        "change it only for a known reason.",
    )


def _worst(judged: Sequence[Judged]) -> dict[str, Any]:
    """Return the largest error with its case, and the smallest signal-to-noise ratio; empty if there are no cases."""
    found = [(one.case.name, output.figures) for one in judged for output in one.outputs.values()]
    if not found:
        return {}
    case, largest = max(found, key=lambda pair: pair[1]["max_abs"])
    worst = {"max_abs": largest["max_abs"], "max_rel": largest["max_rel"], "case": case}
    return {**worst, "snr_db": figure.plain(min(figures["snr_db"] for _, figures in found))}
