"""The stage that lowers the precision of the float32 graph. Onnx and ONNX Runtime are imported only when it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cosybuild.building.stage import RunContext, Stage
from cosybuild.config.groups.precision import Method, PrecisionSettings, Target
from cosybuild.errors import PrecisionError
from cosybuild.lazy import is_installed
from cosybuild.models.artifact_name import artifact_name
from cosybuild.request import Request
from cosybuild.store.result import StageResult
from cosybuild.system.environment import Environment

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto

    from cosybuild.numerics.inputs import Array

LOWERED = (Target.fp16, Target.bf16, Target.mixed)
"""Targets that change the graph. tf32 does not: it is a flag of the engine's builder, which reads a float32 graph."""


class PrecisionStage(Stage[Request]):
    """The stage that lowers the graph to the target precision. It fills the slot `lowered`.

    With `precision.method=search` it also fills the slot `precision`, with the decisions as an option file that a team
    can commit. Calibration files are the source `calibration`: their content is in the key, their path is not.

    Args:
        method: the method that decides which nodes are lowered. The version of ModelOpt is in the key only if the
            method uses ModelOpt.
    """

    name = "precision"
    does = "lowers the precision of the graph"
    version = 7
    needs = ("graph", "calibration?")

    def __init__(self, method: Method = Method.rules) -> None:
        self._method = method

    @property
    def makes(self) -> tuple[str, ...]:
        return ("lowered", "precision") if self._method is Method.search else ("lowered",)

    @property
    def packages(self) -> tuple[str, ...]:
        own = ("nvidia-modelopt",) if self._method is Method.autocast else ()
        return ("onnx", "onnx-ir", "onnxscript", "onnxruntime", "onnxruntime-gpu", *own)

    def settings(self, request: Request) -> Mapping[str, Any]:
        precision = request.settings.precision
        chosen = {
            "target": precision.target.value,
            "method": self._method.value,
            "io": precision.io.value,
            "keep_fp32": list(precision.keep_fp32),
            "data_max": precision.data_max,
            "init_max": precision.init_max,
            "init_min": precision.init_min,
            "file": lowered_name(request),
            "spec": request.subject.spec.facts(),
        }
        if precision.calibration is None and request.given:
            from cosybuild.verification.scope import given_digests

            chosen["calibration"] = given_digests(request)
        elif precision.calibration is None:
            from cosybuild.precision.calibration import calibration_sizes

            sizes = calibration_sizes(precision, request.subject.spec, request.profiles)
            chosen["calibration"] = {"sizes": list(sizes), "seed": precision.calibration_seed}
        if self._method is Method.search:
            from cosybuild.verification.lowered_gates import settings as lowered_settings

            # The search also depends on the gates and the inputs of `verify lowered`.
            chosen["search"] = lowered_settings(request)
        return chosen

    def missing(self, request: Request, environment: Environment) -> tuple[str, ...]:
        if self._method is Method.autocast and not is_installed("modelopt"):
            return ("the Python package nvidia-modelopt (pip install 'cosybuild[autocast]')",)
        return ()

    def run(self, context: RunContext) -> StageResult:
        import onnx_ir as ir

        from cosybuild.onnxgraph.files import load_model, save_model
        from cosybuild.precision.graph import prepare
        from cosybuild.precision.ranges import measure_ranges
        from cosybuild.precision.storage import storage_of

        request: Request = context.request
        settings = request.settings.precision
        storage = storage_of(settings.target)
        assert storage is not None, settings.target
        source = context.inputs["graph"].path
        model = ir.from_proto(load_model(source))
        prepare(model, storage)
        samples = calibration_samples(context)
        context.emit("progress", what=f"measuring ranges on {len(samples)} calibration inputs")
        ranges = measure_ranges(model, samples)
        if self._method is Method.autocast:
            from cosybuild.precision.autocast import autocast, autocast_report

            context.emit("progress", what="running ModelOpt AutoCast")
            proto = autocast(source, model, samples[-1], settings, context.workdir)
            metrics = autocast_report(model, proto, ranges, settings)
        else:
            proto, metrics = _ruled(model, ranges, context)
        _check(proto, foreign=request.subject.graph is not None)
        files = save_model(proto, context.workdir / lowered_name(request))
        metrics = {"target": settings.target.value, "method": self._method.value, **metrics}
        metrics["calibration"] = {"inputs": len(samples), "from": _calibrated_from(request)}
        outputs: dict[str, Sequence[Path]] = {"lowered": files}
        if self._method is Method.search:
            from cosybuild.verification.precision_search import OPTION, option_text

            outputs["precision"] = [context.workdir / OPTION]
            outputs["precision"][0].write_text(option_text(request, metrics["search"]), encoding="utf-8")
        return StageResult(outputs, metrics)


def lowered_name(request: Request) -> str:
    """Return the file name of the lowered graph, which runtimes expect."""
    precision = request.settings.precision.target.value
    return artifact_name(request.subject, precision, ".onnx", request.settings.export.dynamic_batch)


def _calibrated_from(request: Request) -> str:
    return "files" if request.settings.precision.calibration or request.given else "generated"


def calibration_samples(context: RunContext) -> list[Mapping[str, Array]]:
    """Return the inputs on which ranges are measured, arrays by name.

    They come from the calibration files; without such files, they are the real inputs; without those, they are
    generated.
    """
    from cosybuild.precision.calibration import file_samples, generated_samples

    request: Request = context.request
    given = context.inputs.get("calibration")
    if given is not None:
        return list(file_samples([file.path for file in given.files], request.subject.spec))
    if request.given:
        from cosybuild.numerics.real_inputs import read_batch

        return [read_batch(batch, request.subject.spec) for batch in request.given]
    return list(generated_samples(request.settings.precision, request.subject.spec, request.profiles))


def _ruled(model: Any, ranges: Any, context: RunContext) -> tuple[ModelProto, dict[str, Any]]:
    import onnx_ir as ir

    from cosybuild.precision.decide import decide, examine_all
    from cosybuild.precision.lower import lower
    from cosybuild.precision.report import lowering_report
    from cosybuild.precision.storage import storage_of

    settings: PrecisionSettings = context.request.settings.precision
    storage = storage_of(settings.target)
    assert storage is not None
    constants = examine_all(model, storage)
    decisions = decide(model, ranges, settings, constants, context.request.subject.spec)
    found: dict[str, Any] = {}
    if settings.method is Method.search:
        from cosybuild.verification.precision_search import search

        decisions, lowered, found["search"] = search(context, model, ranges, decisions)
    else:
        lowered = lower(model, decisions)
    report = lowering_report(model, ranges, decisions, lowered, constants)
    if report["nodes"]["float"] and report["nodes"]["kept_fp32"] == report["nodes"]["float"]:
        reason = report["kept_fp32"][0]["reason"]
        found["warnings"] = [
            f"no node was lowered, so the graph computes in float32; the most frequent reason: {reason}"
        ]
        context.emit("warning", message=found["warnings"][0])
    return ir.to_proto(lowered.model), report | found


def _check(proto: ModelProto, *, foreign: bool) -> None:
    from cosybuild.onnxgraph.check import InvalidGraph, check_model

    try:
        check_model(proto, output_shapes=not foreign)
    except InvalidGraph as error:
        raise PrecisionError(
            f"ONNX's checker refuses the lowered graph{error.detail}",
            hint=f"Next: precision.keep_fp32=['{error.node or '*'}'] keeps the node in float32.",
        ) from error
