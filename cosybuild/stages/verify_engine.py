"""The stage that compares an engine with the reference, on a GPU.

It imports the engine's library only when it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cosybuild import figure
from cosybuild.backends.tensorrt.choice import Target, missing_requirements
from cosybuild.backends.tensorrt.library import RTX, installed_version
from cosybuild.building.stage import Emit, RunContext, Stage
from cosybuild.numerics.gates import ENGINE, Gate, plain_gate, with_ratio
from cosybuild.request import Request
from cosybuild.stages.engine import EngineStage, engine_settings, expand_engine_stages
from cosybuild.store.result import StageResult
from cosybuild.system.environment import Environment
from cosybuild.verification.engine_runs import Conditions, Opened, examine
from cosybuild.verification.judge import Advice
from cosybuild.verification.reference import Reference, read_reference
from cosybuild.verification.scope import output_settings, reference_cases_of, rollouts_of, verify_settings
from cosybuild.verification.solver_comparison import bounds_of

if TYPE_CHECKING:
    from cosybuild.backends.session import Session


_ADVICE = Advice(
    values="Next: do not use this engine, because its outputs are wrong. verify.hops.engine has the gate; try "
    "trt.optimization_level=0, which avoids faults of fused kernels.",
    not_finite="Next: the graph passes as its type stores it, so the engine's own kernels overflow: precision=bf16, or "
    "precision.keep_fp32=[...] for the layers with the largest values.",
)


@dataclass(frozen=True)
class VerifyEngineStage(Stage[Request]):
    """The stage that compares an engine with the reference. It fills a slot such as `engine_verification_sm89`.

    Attributes:
        target: the library and compute capability of the engine.
    """

    target: Target

    name = "verify_engine"
    does = "runs the engine and compares it with the model"
    version = 2
    # Another GPU of the same model may choose other kernels.
    deterministic = False

    @property
    def label(self) -> str:
        return f"verify {EngineStage(self.target).label}"

    @property
    def needs(self) -> tuple[str, ...]:
        return (*EngineStage(self.target).makes, "reference")

    @property
    def makes(self) -> tuple[str, ...]:
        return tuple(slot.replace("engine", "engine_verification") for slot in EngineStage(self.target).makes)

    @property
    def device(self) -> str:
        return "gpu" if self.target.sm is None else f"gpu sm_{self.target.sm}"

    def settings(self, request: Request) -> Mapping[str, Any]:
        verify, bounds = verify_settings(request), bounds_of(request, request.settings.precision.target, engine=True)
        return {
            "flavour": self.target.library,
            "sm": self.target.sm,
            "gate": plain_gate(engine_gate(request)),
            "cases": [case.facts() for case in reference_cases_of(request)],
            "solver": bounds.facts() if bounds is not None and rollouts_of(request) else None,
            "in_place": in_place_of(request),
            "seed": verify.seed,
            **output_settings(request),
        }

    def environment(self, environment: Environment) -> Mapping[str, str]:
        gpu = next((gpu.name for gpu in environment.gpus if self.target.sm in (None, gpu.sm)), "absent")
        return {
            self.target.library: installed_version(self.target.library, environment) or "absent",
            "gpu": gpu,
            "driver": environment.driver or "absent",
        }

    def missing(self, request: Request, environment: Environment) -> tuple[str, ...]:
        lacks = missing_requirements(self.target, engine_settings(request), environment)
        if self.target.library == RTX and not runs_here(self.target, environment):
            return (*lacks, f"a GPU (sm_{self.target.sm})")
        return lacks

    def run(self, context: RunContext) -> StageResult:
        from cosybuild.backends.tensorrt.engine_facts import deserialise
        from cosybuild.backends.tensorrt.execution import EngineSession
        from cosybuild.backends.tensorrt.library import import_library

        request: Request = context.request
        library = import_library(self.target.library)
        engine = deserialise(library, context.inputs[EngineStage(self.target).makes[0]].path)

        def opened(profile: int, *, in_place: bool) -> tuple[Session, Mapping[str, str]]:
            session = EngineSession(library, engine, profile, in_place_of(request) if in_place else {})
            return session, session.dtypes

        reference = read_reference(context.inputs["reference"].path)
        metrics = examine_engine(opened, request, reference, context.emit)
        path = context.workdir / "engine_verification.json"
        path.write_text(figure.dumps(metrics, indent=1) + "\n", encoding="utf-8")
        return StageResult({self.makes[0]: [path]}, metrics)


def expand_verify_engine_stages(request: Request) -> tuple[Any, ...]:
    """Return one step for each engine that this machine can run.

    A TensorRT plan can always be run on the machine that builds it. A TensorRT-RTX engine can be run if this machine
    has a GPU of its compute capability; otherwise it is reported as not verified.
    """
    if request.settings.verify is None:
        return ()
    targets = [stage.target for stage in expand_engine_stages(request)]
    return tuple(VerifyEngineStage(t) for t in targets if t.library != RTX or runs_here(t, request.environment))


def runs_here(target: Target, environment: Environment) -> bool:
    """Return True if this machine has a GPU of the target's compute capability."""
    return any(gpu.sm == target.sm for gpu in environment.gpus)


def engine_gate(request: Request) -> Gate:
    """Return the gate of every output: `verify.hops.engine` if set, else that of the precision.

    `precision.snr_db`, if set, replaces the signal-to-noise ratio of the precision's gate, as for a lowered graph.
    """
    asked, precision = verify_settings(request).hops.engine, request.settings.precision
    if asked:
        return asked
    return with_ratio(ENGINE[precision.target], precision.snr_db)


def in_place_of(request: Request) -> dict[str, str]:
    """Return output -> the input in whose memory a runtime writes it.

    It is the first output with the shape of the first input; the mapping is empty if there is none.
    """
    spec = request.subject.spec
    first = spec.inputs[0]
    same = [output.name for output in spec.outputs if output.shape == first.shape]
    return {same[0]: first.name} if same else {}


def examine_engine(opened: Opened, request: Request, reference: Reference, emit: Emit) -> dict[str, Any]:
    """Run an engine on every case of its profiles, and then in solver runs; see `engine_runs.examine`."""
    target = request.settings.precision.target
    conditions = Conditions(
        "engine",
        target,
        engine_gate(request),
        request.settings.precision.snr_db,
        bounds_of(request, target, engine=True),
        _ADVICE,
        in_place_of(request),
    )
    return examine(opened, request, reference, conditions, emit)
