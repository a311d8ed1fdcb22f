"""The stage that computes the reference, the expected outputs. It imports torch only when it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild.building.stage import Emit, RunContext, Stage
from cosybuild.errors import ModelError
from cosybuild.models.cosyvoice.caching import is_cached, uncached_spec
from cosybuild.models.module_state import METRIC, module_facts
from cosybuild.models.spec import ModelSpec
from cosybuild.models.subject import Subject
from cosybuild.models.unplanned_reads import check_reads
from cosybuild.numerics.inputs import Array
from cosybuild.request import Request
from cosybuild.stages.export import subject_settings
from cosybuild.store.result import StageResult
from cosybuild.system.typed_json import to_json
from cosybuild.verification.calls import infer_case
from cosybuild.verification.cases import Case
from cosybuild.verification.output_shapes import misstated_outputs
from cosybuild.verification.reference import Reference, write_reference
from cosybuild.verification.scope import ingredients, reference_cases_of, rollouts_of, verify_settings
from cosybuild.verification.solver_runs import Course, Rollout, run

if TYPE_CHECKING:
    from torch import nn

    from cosybuild.backends.session import Session

UNOPTIMISED = "ONNX Runtime without graph optimisations; an ONNX file has no PyTorch reference"


@dataclass(frozen=True)
class ReferenceStage(Stage[Request]):
    """The stage that computes PyTorch's float32 outputs of every case and solver run. It fills the slot `reference`.

    With `verify.float64` it also computes them in float64. The reference depends on the model and the cases only. So
    one reference serves for every opset, simplification and precision of the model.

    Attributes:
        foreign: True if the model is a user's ONNX file. ONNX Runtime then computes the reference from the unchanged
            file.
    """

    foreign: bool = False

    name = "reference"
    does = "computes the model's outputs for comparison"
    version = 2
    makes = ("reference",)
    # Rounding errors differ between CPUs.
    deterministic = False

    @property
    def needs(self) -> tuple[str, ...]:
        return ("graph",) if self.foreign else ("weights?",)

    @property
    def packages(self) -> tuple[str, ...]:
        # numpy draws the inputs, and another release may draw other values from the same seed.
        return ("onnxruntime", "onnxruntime-gpu", "numpy") if self.foreign else ("torch", "numpy")

    def settings(self, request: Request) -> Mapping[str, Any]:
        """Return the settings that determine the cases.

        `version` stands for the code that draws the inputs of a case.
        """
        solver, rollouts = request.subject.solver, rollouts_of(request)
        return {
            **subject_settings(request.subject),
            "float64": verify_settings(request).float64 and not self.foreign,
            **ingredients(request),
            "rollouts": [{"lengths": list(one.lengths), "why": one.why} for one in rollouts],
            "solver": None if solver is None or not rollouts else to_json(solver),
        }

    def run(self, context: RunContext) -> StageResult:
        request: Request = context.request
        subprocess_bytes = 0
        work = _Work(request, reference_cases_of(request), rollouts_of(request), context.emit)
        if self.foreign:
            from cosybuild.backends.isolated import open_session, peak_of
            from cosybuild.backends.onnxruntime_backend import Level

            threads = verify_settings(request).threads
            graph = context.inputs["graph"].path
            session = open_session(graph, request.subject, threads=threads, level=Level.none)
            made: dict[str, str] = {}
            reference = Reference(UNOPTIMISED, work.cases, work.outputs(session), work.rollouts, work.courses(session))
            subprocess_bytes = peak_of(session)
        else:
            weights = context.inputs.get("weights")
            exact = verify_settings(request).float64
            file = weights.path if weights else None
            real = [batch.path for batch in request.given]
            with check_reads(request.subject, file, context.workdir.parent, real):
                reference, made = _of_torch(work, file, exact)
        warnings = list(_not_finite(reference.cases, reference.outputs))
        if self.foreign:
            warnings += misstated_outputs(request.subject.spec, reference)
        for line in warnings:
            context.emit("warning", message=line)
        path = write_reference(context.workdir / "reference.npz", reference)
        metrics = {
            "said": reference.said,
            "cases": len(work.cases),
            "rollouts": [one.name for one in work.rollouts],
            "float64": bool(reference.exact_outputs),
            "warnings": warnings,
            **({METRIC: made} if made else {}),
        }
        return StageResult({"reference": [path]}, metrics, subprocess_bytes)


@dataclass(frozen=True)
class _Work:
    request: Request
    cases: tuple[Case, ...]
    rollouts: tuple[Rollout, ...]
    emit: Emit

    @property
    def subject(self) -> Subject:
        return self.request.subject

    def outputs(self, session: Session, dtype: str = "float32") -> tuple[dict[str, Array], ...]:
        found = []
        for index, case in enumerate(self.cases):
            outputs = _case_outputs(session, case, self.request, dtype)
            found.append(outputs)
            self.emit("progress", done=index + 1, total=len(self.cases), what=f"{dtype} reference of {case.name}")
        _check_comparable(self.cases, found, dtype)
        return tuple(found)

    def courses(self, session: Session, dtype: str = "float32") -> tuple[Course, ...]:
        spec = uncached_spec(self.subject.spec) if is_cached(self.subject.spec) else self.subject.spec
        found = []
        for rollout in self.rollouts:
            assert self.subject.solver is not None
            self.emit("progress", what=f"{dtype} reference of {rollout.name}")
            course = run(session.infer, rollout, spec, self.subject.solver, dtype)
            if not _finite(course.mel).all():
                raise ModelError(
                    f"The model itself gives values that are not finite, in {dtype}: the mel of {rollout.name}.",
                    hint="Next: check the weights; verify.solver=null leaves the runs of the solver out",
                )
            found.append(course)
        return tuple(found)


def _of_torch(work: _Work, weights: Path | None, exact: bool) -> tuple[Reference, dict[str, str]]:
    """Compute the reference with PyTorch; return it with the facts of the module's state.

    `exact` adds float64 outputs.
    """
    from cosybuild.backends import torch_backend
    from cosybuild.models.load import load_module

    spec = work.subject.spec
    module = load_module(work.subject, weights)
    facts = module_facts(module)
    names = [[tensor.name for tensor in side] for side in (spec.inputs, spec.outputs)]
    session = torch_backend.load(module, *names)
    whole = _whole(module, spec) or session
    outputs, courses = work.outputs(session), work.courses(whole)
    exact_outputs: tuple[dict[str, Array], ...] = ()
    exact_courses: tuple[Course, ...] = ()
    if exact:
        # Convert the module in place. float32 values are exact in float64, and a copy would need memory of three times
        # the size of the weights.
        module.double()
        exact_outputs, exact_courses = work.outputs(session, "float64"), work.courses(whole, "float64")
    reference = Reference(session.device, work.cases, outputs, work.rollouts, courses, exact_outputs, exact_courses)
    return reference, facts


def _whole(module: nn.Module, spec: ModelSpec) -> Session | None:
    """Return a session on an estimator without caches that has the weights of a cached one; None for another module.

    It computes the solver runs of the reference on all frames so far. So a cached artifact is compared with a
    computation that has no caches.
    """
    from cosybuild.backends import torch_backend
    from cosybuild.models.cosyvoice.estimator.cached import CachedEstimator
    from cosybuild.models.cosyvoice.estimator.exportable import ExportableEstimator

    if not isinstance(module, CachedEstimator):
        return None
    plain = uncached_spec(spec)
    names = [[tensor.name for tensor in side] for side in (plain.inputs, plain.outputs)]
    return torch_backend.load(ExportableEstimator(module.estimator, streaming=True), *names)


def _check_comparable(cases: Sequence[Case], outputs: Sequence[Mapping[str, Array]], dtype: str) -> None:
    """Check that each output has a finite element in at least one case.

    Raises:
        ModelError: an output has none, so nothing can be compared with it.
    """
    for name in outputs[0] if outputs else ():
        if any(_finite(found[name]).any() for found in outputs) or not any(found[name].size for found in outputs):
            continue
        case, values = next((c, o[name]) for c, o in zip(cases, outputs, strict=True) if o[name].size)
        raise ModelError(
            f"The model itself gives no finite value of {name} in any case, in {dtype}. In the case "
            f"{case.name} all {values.size} elements are not finite; the first is {float(values.flat[0]):g}. Nothing "
            "can be compared with them.",
            hint="Next: give inputs that the model accepts (generator, low and high in model.inputs; trt_profile), "
            "or switch verification off with verify=off",
        )


def _not_finite(cases: Sequence[Case], outputs: Sequence[Mapping[str, Array]]) -> Iterator[str]:
    """Yield one sentence for each output that has a value that is not finite in some case."""
    import numpy as np

    for name in outputs[0] if outputs else ():
        found = {case.name: np.argwhere(~_finite(one[name])) for case, one in zip(cases, outputs, strict=True)}
        found = {case: wrong for case, wrong in found.items() if len(wrong)}
        if not found:
            continue
        case, wrong = next(iter(found.items()))
        values = next(one[name] for one_case, one in zip(cases, outputs, strict=True) if one_case.name == case)
        index = tuple(int(i) for i in wrong[0])
        yield (
            f"the model itself gives values of {name} that are not finite in {len(found)} of {len(cases)} cases: in "
            f"{case} {len(wrong)} of {values.size} elements, the first {name}{list(index)}, which is "
            f"{float(values[index]):g}. Where the model gives NaN, an artifact is not compared."
        )


def _finite(values: Array) -> Array:
    import numpy as np

    return np.isfinite(np.asarray(values, np.float64))


def _case_outputs(session: Session, case: Case, request: Request, dtype: str) -> dict[str, Array]:
    """Compute the outputs of one case.

    If all rows of the inputs are alike, PyTorch computes only one row, which is then repeated.
    """
    import numpy as np

    subject = request.subject
    inputs = case.inputs(subject.spec)
    if dtype != "float32":
        inputs = {
            name: values.astype(dtype) if values.dtype == np.float32 else values for name, values in inputs.items()
        }
    rows = next(iter(inputs.values())).shape[0] if case.draw.alike and subject.graph is None else 1
    if rows > 1:
        inputs = {name: np.ascontiguousarray(values[:1]) for name, values in inputs.items()}
    outputs = infer_case(session, case, inputs, request if dtype == "float32" else None)
    return {name: np.repeat(values, rows, axis=0) if rows > 1 else values for name, values in outputs.items()}
