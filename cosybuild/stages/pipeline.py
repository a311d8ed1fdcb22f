"""The order of the pipeline: functions that return the steps of a request, in the order in which they run.

Stages that few builds have are imported only for those builds, because every command has to import what a plan needs.
"""

from __future__ import annotations

from collections.abc import Callable

from cosybuild.building.part import PartStage
from cosybuild.building.stage import Stage
from cosybuild.request import Request
from cosybuild.stages.engine import expand_engine_stages
from cosybuild.stages.export import ExportStage, falls_back
from cosybuild.stages.import_onnx import ImportOnnxStage
from cosybuild.stages.noise_profile import ProfileStage
from cosybuild.stages.precision import PrecisionStage
from cosybuild.stages.reference import ReferenceStage
from cosybuild.stages.simplify import SimplifyStage
from cosybuild.stages.verify import VerifyStage
from cosybuild.stages.verify_engine import expand_verify_engine_stages
from cosybuild.stages.verify_lowered import VerifyLoweredStage
from cosybuild.verification.scope import check_verify, is_lowered

Steps = tuple[Stage[Request], ...]


def _export(request: Request) -> Steps:
    if request.subject.graph is not None:
        return (ImportOnnxStage(),)
    return (ExportStage(request.settings.export.exporter, falls_back(request)),)


def _reference(request: Request) -> Steps:
    if request.settings.verify is None:
        return ()
    check_verify(request)
    return (ReferenceStage(foreign=request.subject.graph is not None),)


def _simplify(request: Request) -> Steps:
    return (SimplifyStage(),) if request.settings.simplify is not None else ()


def _verify(request: Request) -> Steps:
    return (VerifyStage(),) if request.settings.verify is not None else ()


def _precision(request: Request) -> Steps:
    return (PrecisionStage(request.settings.precision.method),) if is_lowered(request) else ()


def _profile(request: Request) -> Steps:
    verify = request.settings.verify
    return (ProfileStage(),) if is_lowered(request) and verify is not None and verify.profile else ()


def _verify_lowered(request: Request) -> Steps:
    return (VerifyLoweredStage(),) if is_lowered(request) and request.settings.verify is not None else ()


def _openvino(request: Request) -> Steps:
    if request.settings.ov is None:
        return ()
    from cosybuild.stages.openvino import expand_openvino_stages
    from cosybuild.stages.verify_openvino import expand_verify_openvino_stages

    return (*expand_openvino_stages(request), *expand_verify_openvino_stages(request))


def _torchscript(request: Request) -> Steps:
    if request.settings.deploy is None:
        return ()
    from cosybuild.stages.torchscript import expand_torchscript_stages

    return expand_torchscript_stages(request)


def _benchmark(request: Request) -> Steps:
    if request.settings.benchmark is None:
        return ()
    from cosybuild.stages.benchmark import expand_benchmark_stages

    return expand_benchmark_stages(request)


def _repeat(request: Request) -> Steps:
    """Return the step that repeats the build. It leaves out engines and IRs that cannot be built on this machine."""
    verify = request.settings.verify
    if verify is None or verify.repeat == 0:
        return ()
    from cosybuild.stages.repeat import RepeatStage

    engines = [s for s in expand_engine_stages(request) if not s.missing(request, request.environment)]
    steps: Steps = (*_export(request), *_simplify(request), *_precision(request), *engines, *_built_ir(request))
    return (RepeatStage(steps, tuple(dict.fromkeys(slot for step in steps for slot in step.makes))),)


def _built_ir(request: Request) -> Steps:
    """Return the step that makes the IR; none if ov=none or if this machine cannot make it."""
    if request.settings.ov is None:
        return ()
    from cosybuild.stages.openvino import expand_openvino_stages

    return tuple(s for s in expand_openvino_stages(request) if not s.missing(request, request.environment))


STAGES: tuple[Callable[[Request], Steps], ...] = (
    _export,
    _reference,  # before any step changes a user's graph, from which the reference is computed
    _simplify,
    _verify,
    _precision,
    _profile,  # before _verify_lowered, so that a graph that fails there has a noise profile
    _verify_lowered,
    expand_engine_stages,
    expand_verify_engine_stages,
    _openvino,
    _torchscript,
    _benchmark,
    _repeat,
)
"""Functions that take a request and return its steps: none if the stage is switched off, several if it builds several
artifacts.
"""


def _verify_voice(request: Request) -> Steps:
    from cosybuild.stages.verify_voice import expand_verify_voice_stages

    return expand_verify_voice_stages(request)


JOINT: tuple[Callable[[Request], Steps], ...] = (_verify_voice,)
"""Functions that take the request of a joint build and return the steps that run after those of all parts. These steps
see a slot of a part as `part.slot`.
"""


def stages_for(request: Request) -> Steps:
    """Return the steps of one build in the order in which they run. A joint build runs the steps part after part."""
    if not request.parts:
        return tuple(step for steps in STAGES for step in steps(request))
    of_parts = [PartStage(part, step, one) for part, one in request.parts.items() for step in stages_for(one)]
    return (*of_parts, *(step for steps in JOINT for step in steps(request)))
