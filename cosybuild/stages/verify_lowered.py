"""The stage that compares the lowered graph with the reference: in ONNX Runtime, and with emulated storage types.

Both runs get exactly the inputs of the reference, because every storage type can represent the numbers of the cases.
The solver runs include the error that inputs and outputs in fp16 cause in production (t = 0.7 in fp16 has a phase error
of up to 0.24 rad).

docs/verification.md describes how the gates were measured. Lengths above 1024 frames (128 for a vocoder) are not run.
There, an emulated run takes minutes and gigabytes. The ranges of values hardly grow with the length, and the engine's
verification covers the whole profile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cosybuild import figure
from cosybuild.building.stage import Emit, RunContext, Stage
from cosybuild.config.groups.precision import Target
from cosybuild.errors import VerificationError
from cosybuild.numerics.gates import Gate, plain_gate, worst
from cosybuild.numerics.metrics import METRICS, Kind
from cosybuild.precision.interface import interface_dtype
from cosybuild.request import Request
from cosybuild.store.result import StageResult
from cosybuild.verification.calls import infer_case
from cosybuild.verification.cases import Case, sizes_left_out
from cosybuild.verification.hops import Hop
from cosybuild.verification.judge import Judged, judge
from cosybuild.verification.lowered_gates import ADVICE, limits_of, to_float32, typed_inputs
from cosybuild.verification.lowered_gates import settings as lowered_settings
from cosybuild.verification.property_checks import Examined, check_contract, with_dtype
from cosybuild.verification.reference import Reference, read_reference
from cosybuild.verification.scope import (
    cases_of,
    contract_sizes,
    given_digests,
    lowered_cases_of,
    rollouts_of,
    verify_settings,
)
from cosybuild.verification.solver_comparison import bounds_of, compare_solver_runs
from cosybuild.verification.solver_runs import Rollout

if TYPE_CHECKING:
    from pathlib import Path

    from cosybuild.backends.isolated import IsolatedSession
    from cosybuild.backends.onnxruntime_backend import OnnxRuntimeSession
    from cosybuild.backends.session import Session
    from cosybuild.numerics.inputs import Array
    from cosybuild.precision.emulated_session import EmulatedSession

LONGEST_ROLLOUT = 256
"""Largest number of frames of a solver run. Each run makes as many emulated calls as the solver has steps."""


class VerifyLoweredStage(Stage[Request]):
    """The stage that compares the lowered graph with the reference. It fills the slot `lowered_verification`."""

    name = "verify_lowered"
    label = "verify lowered"
    does = "compares the lowered graph with the model"
    version = 5
    needs = ("lowered", "graph", "reference?")
    makes = ("lowered_verification",)
    packages = ("onnx-ir", "onnxruntime", "onnxruntime-gpu")

    def settings(self, request: Request) -> Mapping[str, Any]:
        bounds = bounds_of(request, request.settings.precision.target)
        return {
            "target": request.settings.precision.target.value,
            **lowered_settings(request),
            **contract_sizes(request),
            "solver": bounds.facts() if bounds is not None and _rollouts(request) else None,
            "spec": request.subject.spec.facts(),
            "io": request.settings.precision.io.value,
            "streaming": request.subject.streaming,
            "hyperparameters": dict(request.subject.hyperparameters),
            **given_digests(request),
        }

    def run(self, context: RunContext) -> StageResult:
        import onnx_ir as ir

        from cosybuild.backends.isolated import open_session, peak_of, warnings_of
        from cosybuild.onnxgraph.files import load_model
        from cosybuild.precision.emulated_session import EmulatedSession

        request: Request = context.request
        verify, target, subject = request.settings.verify, request.settings.precision.target, request.subject
        assert verify is not None
        paths = {slot: context.inputs[slot].path for slot in ("lowered", "graph")}
        lowered = ir.from_proto(load_model(paths["lowered"]))
        emulated = EmulatedSession(lowered, ir.from_proto(load_model(paths["graph"])), verify.threads)
        reference = read_reference(context.inputs["reference"].path) if "reference" in context.inputs else None
        answers = _Answers(reference, lambda: open_session(paths["graph"], subject, verify.provider, verify.threads))
        # ONNX Runtime has almost no bfloat16 kernels for the CPU, so a bfloat16 graph is checked by emulation only.
        plain, warnings = None, []
        if target is not Target.bf16:
            plain = open_session(paths["lowered"], subject, verify.provider, verify.threads)
            warnings = warnings_of(plain, context.emit)
        limits, planned = limits_of(request), lowered_cases_of(request)
        records: list[Judged] = []
        for index, case in enumerate(planned):
            typed = typed_inputs(case.inputs(request.subject.spec), lowered)
            inputs = {name: to_float32(values) for name, values in typed.items()}
            expected = answers.of(case, inputs)
            with _noted(case, context.emit):
                stored, guilty = emulated.infer(inputs)
                if guilty is not None:
                    raise VerificationError(
                        f"The {target.value} graph gives values that are not finite, case {case.name}: {guilty}.",
                        hint=f"Next: precision=auto finds the fewest nodes to keep; or precision.keep_fp32="
                        f"['{guilty.node}'] for this one; or calibrate on inputs like these (precision.calibration).",
                    )
                outputs = {"as stored": stored}
                if plain is not None:
                    outputs[plain.device] = infer_case(plain, case, typed)
                for how, actual in outputs.items():
                    records.append(judge(case, how, actual, expected, limits))
                    records[-1].check(ADVICE)
            context.emit("progress", done=index + 1, total=len(planned), what=case.name)
        # The cases come before the contract, because their error names the node whose values are not finite.
        contract = check_contract(
            _examined(paths["lowered"], request, plain, emulated),
            request.subject,
            request.profiles,
            verify.seed,
            context.emit,
            request.given,
        )
        hop = _hop(records, limits.gate, answers.said)
        metrics: dict[str, Any] = {"target": target.value, "gate": plain_gate(limits.gate)}
        metrics["cases"] = [record.facts() for record in records]
        metrics["worst"] = {name: figure.plain(hop.own[name]) for name in hop.own if _is_shown(name)}
        metrics["kinds"] = {name: kind.value for name, kind in limits.kinds.items()}
        metrics["warnings"] = [*warnings, *(line for record in records for line in record.warnings)]
        metrics["contract"] = contract
        metrics["hops"] = [hop.facts()]
        metrics["left_out"] = [case.name for case in sizes_left_out(cases_of(request), planned)]
        metrics["solver"] = _solved(emulated, lowered, reference, request, context.emit)
        if plain is None:
            metrics["note"] = "bfloat16: ONNX Runtime's CPU has no kernels; checked by emulated storage only"
        report = context.workdir / "lowered_verification.json"
        report.write_text(figure.dumps(metrics, indent=1) + "\n", encoding="utf-8")
        return StageResult({"lowered_verification": [report]}, metrics, peak_of(plain))


def _is_shown(metric: str) -> bool:
    return metric in ("snr_db", "max_rel", "cosine") or METRICS[metric].of is not Kind.any


@contextmanager
def _noted(case: Case, emit: Emit) -> Iterator[None]:
    """Emit a note with the case if it fails within the block, so that the failure can be reproduced."""
    try:
        yield
    except VerificationError:
        emit("note", message=f"the case that fails: {case.name}", case=case.facts())
        raise


class _Stored:
    """A session that runs a lowered graph with emulated storage types, with the methods of `Session`."""

    device = "emulated storage"

    def __init__(self, emulated: EmulatedSession) -> None:
        self._session = emulated

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._session.infer(inputs)[0]


def _examined(
    path: Path, request: Request, plain: OnnxRuntimeSession | IsolatedSession | None, emulated: EmulatedSession
) -> Examined:
    """Return the lowered graph for the check of its contract, with its session.

    The session emulates the storage types if ONNX Runtime has no kernels for them (`plain` is None).
    """
    from cosybuild.precision.storage import storage_of

    precision, spec = request.settings.precision, request.subject.spec
    storage = storage_of(precision.target)
    assert storage is not None, precision.target
    lower = storage.name.lower()
    declared = with_dtype(spec, interface_dtype(precision, spec))
    if plain is None:
        return Examined(path, declared, _Stored(emulated), spec, None, lower)
    return Examined(path, declared, plain, declared, plain.infer_in_place, lower)


class _Answers:
    """The expected outputs of the cases. They come from the reference, or from the float32 graph for other cases.

    Attributes:
        said: the source of the outputs: `torch`, or `graph` as soon as the float32 graph has been run.
    """

    def __init__(self, reference: Reference | None, load: Callable[[], Session]) -> None:
        self._reference, self._load = reference, load
        self._session: Session | None = None

    @property
    def said(self) -> str:
        return "graph" if self._session is not None else "torch"

    def of(self, case: Case, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        found = None if self._reference is None else self._reference.find(case.draw)
        if found is None:
            self._session = self._session or self._load()
            found = self._session.infer(inputs)
        return found


def _hop(records: Sequence[Judged], gate: Gate, against: str) -> Hop:
    """Return the error of the lowered graph against the expected outputs.

    It includes the errors of the float32 conversions before the lowering, which add less than a thousandth.
    """
    own = worst(record.figures for record in records)
    least = min(records, key=lambda record: record.figures["snr_db"], default=None)
    return Hop("lowered", against, own, own, "" if least is None else least.case.name, gate, ())


def _rollouts(request: Request) -> tuple[Rollout, ...]:
    everything = verify_settings(request).exhaustive
    return tuple(one for one in rollouts_of(request) if everything or one.lengths[-1] <= LONGEST_ROLLOUT)


def _solved(
    emulated: EmulatedSession, lowered: Any, reference: Reference | None, request: Request, emit: Emit
) -> list[dict[str, Any]]:
    """Make solver runs in which every call emulates the storage types.

    The solver itself computes in float32, as in production.
    """
    if reference is None:
        return []

    def infer(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return emulated.infer({n: to_float32(v) for n, v in typed_inputs(inputs, lowered).items()})[0]

    bounds = bounds_of(request, request.settings.precision.target)
    return compare_solver_runs(infer, "as stored", _rollouts(request), reference, bounds, request, emit)
