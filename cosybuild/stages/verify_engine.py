"""The stage that runs an engine on its GPU and compares it with the reference.

It imports the engine's library only when it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cosybuild import figure
from cosybuild.backends.tensorrt.choice import Target, missing_requirements
from cosybuild.backends.tensorrt.library import RTX, installed_version
from cosybuild.building.stage import Emit, RunContext, Stage
from cosybuild.models.profile import BATCH, FRAMES, Profile, admits
from cosybuild.numerics.gates import ENGINE, Gate, gates_of_kinds, plain_gate, with_ratio, worst
from cosybuild.request import Request
from cosybuild.stages.engine import EngineStage, engine_settings, expand_engine_stages
from cosybuild.store.result import StageResult
from cosybuild.system.environment import Environment
from cosybuild.verification.hops import Hop
from cosybuild.verification.judge import Advice, Judged, Limits, judge
from cosybuild.verification.reference import Reference, read_reference
from cosybuild.verification.scope import kinds_of, reference_cases_of, rollouts_of, verify_settings
from cosybuild.verification.solver_comparison import bounds_of, compare_solver_runs

if TYPE_CHECKING:
    from cosybuild.backends.session import Session
    from cosybuild.numerics.inputs import Array
    from cosybuild.verification.cases import Case


_ADVICE = Advice(
    values="Next: do not use this engine, because its outputs are wrong. verify.hops.engine has the gate; try "
    "trt.optimization_level=0, which avoids faults of fused kernels.",
    not_finite="Next: the graph passes as its type stores it, so the engine's own kernels overflow: precision=bf16, or "
    "precision.keep_fp32=[...] for the layers with the largest values.",
)


class Opened(Protocol):
    """A function that opens sessions on one engine."""

    def __call__(self, profile: int, *, in_place: bool) -> tuple[Session, Mapping[str, str]]:
        """Return a session on one optimisation profile, and the dtype of each input.

        Args:
            profile: index of the optimisation profile.
            in_place: True if the session writes the output over the input that has the output's shape.
        """


@dataclass(frozen=True)
class VerifyEngineStage(Stage[Request]):
    """The stage that makes the record of all cases, in a slot such as `engine_verification_sm89`.

    Attributes:
        target: the engine's target.
    """

    target: Target

    name = "verify_engine"
    does = "runs the engine and compares it with the model"
    version = 1
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
    """Return one step for each engine that can be run.

    A TensorRT plan can always be run where it is built. An engine built ahead of time can be run if this machine has
    the GPU that it is for; otherwise it stays unverified and is reported as such.
    """
    if request.settings.verify is None:
        return ()
    targets = [stage.target for stage in expand_engine_stages(request)]
    return tuple(VerifyEngineStage(t) for t in targets if t.library != RTX or runs_here(t, request.environment))


def runs_here(target: Target, environment: Environment) -> bool:
    """Return True if this machine has a GPU that the engine is for."""
    return any(gpu.sm == target.sm for gpu in environment.gpus)


def engine_gate(request: Request) -> Gate:
    """Return the gate of every output: `verify.hops.engine` if set, otherwise that of the precision.

    `precision.snr_db` replaces the ratio of the precision's gate, as it does for a lowered graph.
    """
    asked, precision = verify_settings(request).hops.engine, request.settings.precision
    if asked:
        return asked
    return with_ratio(ENGINE[precision.target], precision.snr_db)


def in_place_of(request: Request) -> dict[str, str]:
    """Return output -> the input in whose memory a runtime writes it; empty if no output has the right shape."""
    spec = request.subject.spec
    first = spec.inputs[0]
    same = [output.name for output in spec.outputs if output.shape == first.shape]
    return {same[0]: first.name} if same else {}


def examine_engine(opened: Opened, request: Request, reference: Reference, emit: Emit) -> dict[str, Any]:
    """Compare every case within each optimisation profile with the reference, then run the solver.

    Each case runs with an output buffer of its own and, if the contract allows it, with the output in the memory of
    an input.

    Raises:
        VerificationError: an output or the mel misses its gate; the message names the case.
    """
    subject, gate = request.subject, engine_gate(request)
    target, kinds = request.settings.precision.target, kinds_of(subject.spec)
    of_kind = gates_of_kinds(target, request.settings.precision.snr_db)
    limits = Limits(gate, target=target, kinds=kinds, of_kind=of_kind)
    profiles = request.profiles
    records: list[Judged] = []
    ways = (False, True) if in_place_of(request) else (False,)
    planned = [(index, way) for index in range(len(profiles)) for way in ways]
    for done, (index, way) in enumerate(planned):
        session, dtypes = opened(index, in_place=way)
        how = f"{session.device}, profile {index}" + (", in place" if way else "")
        for case in _within(reference.cases, profiles[index]):
            expected = reference.find(case.draw)
            assert expected is not None, case.name
            inputs = cast_inputs(case.inputs(subject.spec), dtypes)
            records.append(judge(case, how, session.infer(inputs), expected, limits))
            records[-1].check(_ADVICE)
        emit("progress", done=done + 1, total=len(planned), what=how)
    session, dtypes = opened(0, in_place=False)
    return {
        "device": session.device,
        "gate": plain_gate(gate),
        "cases": [record.facts() for record in records],
        "worst": figure.plain(worst(record.figures for record in records)),
        "warnings": [line for record in records for line in record.warnings],
        "hops": [_hop(records, gate, reference).facts()],
        "solver": _solved(session, dtypes, reference, request, profiles[0], emit),
    }


def cast_inputs(inputs: Mapping[str, Array], dtypes: Mapping[str, str]) -> dict[str, Array]:
    """Cast inputs to the artifact's types; the casts are exact, because every type represents the cases' numbers."""
    import ml_dtypes
    import numpy as np

    known = {"bfloat16": np.dtype(ml_dtypes.bfloat16)}
    return {name: values.astype(known.get(dtypes[name], dtypes[name])) for name, values in inputs.items()}


def _within(cases: Sequence[Case], profile: Profile) -> Iterator[Case]:
    for case in cases:
        if admits([profile], case.draw.sizes):
            yield case


def _hop(records: Sequence[Judged], gate: Gate, reference: Reference) -> Hop:
    """Return the engine's error against the reference, lowering included."""
    own = worst(record.figures for record in records)
    least = min(records, key=lambda record: record.figures["snr_db"])
    return Hop("engine", reference.said, own, own, least.case.name, gate, ())


def _solved(
    session: Session,
    dtypes: Mapping[str, str],
    reference: Reference,
    request: Request,
    profile: Profile,
    emit: Emit,
) -> list[dict[str, Any]]:
    import numpy as np

    def infer(inputs: Mapping[str, Array]) -> dict[str, Array]:
        outputs = session.infer(cast_inputs(inputs, dtypes))
        return {name: np.asarray(values, np.float32) for name, values in outputs.items()}

    if BATCH in profile and profile[BATCH].min > 2:
        return []  # a solver run is one utterance, which has two rows
    covered = tuple(
        one
        for one in rollouts_of(request)
        if profile[FRAMES].min <= one.lengths[0] and one.lengths[-1] <= profile[FRAMES].max
    )
    bounds = bounds_of(request, request.settings.precision.target, engine=True)
    return compare_solver_runs(infer, session.device, covered, reference, bounds, request, emit)
