"""The stage that compares an OpenVINO IR with the reference. OpenVINO is imported only when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cosybuild import figure
from cosybuild.backends.openvino.requirements import missing_requirements
from cosybuild.building.stage import RunContext, Stage
from cosybuild.config.groups.openvino import ARITHMETIC
from cosybuild.config.groups.precision import Target
from cosybuild.numerics.gates import (
    ENGINE,
    LOWERED_SOLVER,
    OPENVINO_MIXED,
    OPENVINO_MIXED_SOLVER,
    Gate,
    plain_gate,
    with_ratio,
)
from cosybuild.request import Request
from cosybuild.stages.openvino import expand_openvino_stages, openvino_environment, ov_settings
from cosybuild.store.result import StageResult
from cosybuild.system.environment import Environment
from cosybuild.verification.engine_runs import Conditions, examine
from cosybuild.verification.judge import Advice
from cosybuild.verification.property_checks import Examined, check_contract
from cosybuild.verification.reference import read_reference
from cosybuild.verification.scope import (
    contract_sizes,
    output_settings,
    reference_cases_of,
    rollouts_of,
    verify_settings,
)
from cosybuild.verification.solver_comparison import Bounds, bounds_of

if TYPE_CHECKING:
    from cosybuild.backends.session import Session

_ADVICE = Advice(
    values="Next: ov.keep_fp32=[arithmetic] keeps all but matrix products in float32; ov=fp32 computes everything in "
    "float32; ov.snr_db=N accepts less.",
    not_finite="Next: ov=bf16 has more range than fp16; ov=fp32 computes everything in float32.",
)
_COMPUTED_IN = {Target.fp32: "float32", Target.fp16: "float16", Target.bf16: "bfloat16"}


class VerifyOpenVinoStage(Stage[Request]):
    """The stage that compares an OpenVINO IR with the reference. It fills the slot `openvino_verification`."""

    name = "verify_openvino"
    label = "verify openvino"
    does = "runs the OpenVINO IR and compares it with the model"
    version = 1
    needs = ("openvino", "reference")
    makes = ("openvino_verification",)
    # Rounding errors differ between CPUs.
    deterministic = False

    def settings(self, request: Request) -> Mapping[str, Any]:
        bounds, verify = solver_bounds(request), verify_settings(request)
        return {
            "precision": ov_settings(request).precision.value,
            "gate": plain_gate(openvino_gate(request)),
            "snr_db": ov_settings(request).snr_db,
            "cases": [case.facts() for case in reference_cases_of(request)],
            "solver": bounds.facts() if bounds is not None and rollouts_of(request) else None,
            **contract_sizes(request),
            "spec": request.subject.spec.facts(),
            "streaming": request.subject.streaming,
            "hyperparameters": dict(request.subject.hyperparameters),
            "threads": verify.threads,
            "seed": verify.seed,
            **output_settings(request),
        }

    def environment(self, environment: Environment) -> Mapping[str, str]:
        return openvino_environment(environment)

    def missing(self, request: Request, environment: Environment) -> tuple[str, ...]:
        return missing_requirements(ov_settings(request).precision.value, environment)

    def run(self, context: RunContext) -> StageResult:
        from cosybuild.backends.openvino.session import load

        request: Request = context.request
        verify, target, spec = verify_settings(request), target_of(request), request.subject.spec
        precision = ov_settings(request).precision.value
        session = load(context.inputs["openvino"].path, precision, threads=verify.threads)

        def opened(profile: int, *, in_place: bool) -> tuple[Session, Mapping[str, str]]:
            return session, session.dtypes

        # The path is None, because the step that made the IR has compared its inputs and outputs with the
        # specification.
        examined = Examined(None, spec, session, spec, None, _COMPUTED_IN[target])
        contract = check_contract(examined, request.subject, request.profiles, verify.seed, context.emit, request.given)
        reference = read_reference(context.inputs["reference"].path)
        gate, snr_db = openvino_gate(request), ov_settings(request).snr_db
        conditions = Conditions("openvino", target, gate, snr_db, solver_bounds(request), _ADVICE)
        metrics = {**examine(opened, request, reference, conditions, context.emit), "contract": contract}
        path = context.workdir / "openvino_verification.json"
        path.write_text(figure.dumps(metrics, indent=1) + "\n", encoding="utf-8")
        return StageResult({"openvino_verification": [path]}, metrics)


def expand_verify_openvino_stages(request: Request) -> tuple[VerifyOpenVinoStage, ...]:
    """Return the step that verifies the IR; none if nothing is verified or if ov=none."""
    if request.settings.verify is None or not expand_openvino_stages(request):
        return ()
    return (VerifyOpenVinoStage(),)


def target_of(request: Request) -> Target:
    """Return the number type in which the IR computes its matrix products."""
    return Target(ov_settings(request).precision.value)


def is_mixed(request: Request) -> bool:
    """Return True if the precision is bf16 and all arithmetic except matrix products and softmax is in float32."""
    return target_of(request) is Target.bf16 and ARITHMETIC in ov_settings(request).keep_fp32


def openvino_gate(request: Request) -> Gate:
    """Return the gate of every output, that of the IR's precision.

    `ov.snr_db`, if set, replaces the gate's signal-to-noise ratio.
    """
    gate = OPENVINO_MIXED if is_mixed(request) else ENGINE[target_of(request)]
    return with_ratio(gate, ov_settings(request).snr_db)


def solver_bounds(request: Request) -> Bounds | None:
    """Return the bounds of the solver runs with the IR; None if the solver is not run."""
    bounds = bounds_of(request, target_of(request), engine=True)
    if bounds is None or not is_mixed(request) or bounds.gate is not LOWERED_SOLVER[Target.bf16]:
        return bounds
    return Bounds(OPENVINO_MIXED_SOLVER, bounds.step_snr_db, bounds.setting)
