"""The order of the pipeline, in one place: who makes steps out of a request, first to last."""

from __future__ import annotations

from collections.abc import Callable

from cosybuild.core.environment import Environment
from cosybuild.core.stage import Stage
from cosybuild.stages.adopt import AdoptStage
from cosybuild.stages.benchmark import expand_benchmark_stages
from cosybuild.stages.cases import check_verify, is_lowered
from cosybuild.stages.engine import expand_engine_stages
from cosybuild.stages.export import ExportStage
from cosybuild.stages.precision import PrecisionStage
from cosybuild.stages.profile import ProfileStage
from cosybuild.stages.reference import ReferenceStage
from cosybuild.stages.repeat import RepeatStage
from cosybuild.stages.request import Request
from cosybuild.stages.simplify import SimplifyStage
from cosybuild.stages.verify import VerifyStage
from cosybuild.stages.verify_engine import expand_verify_engine_stages
from cosybuild.stages.verify_lowered import VerifyLoweredStage

Steps = tuple[Stage[Request], ...]


def _export(request: Request) -> Steps:
    return (ExportStage(),) if request.subject.graph is None else (AdoptStage(),)


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


def _repeat(request: Request) -> Steps:
    """Engines that cannot be built here do not hold it up."""
    verify = request.settings.verify
    if verify is None or verify.repeat == 0:
        return ()
    environment = Environment()
    engines = [s for s in expand_engine_stages(request) if not s.missing(request, environment)]
    steps: Steps = (*_export(request), *_simplify(request), *_precision(request), *engines)
    return (RepeatStage(steps, tuple(dict.fromkeys(slot for step in steps for slot in step.makes))),)


STAGES: tuple[Callable[[Request], Steps], ...] = (
    _export,
    _reference,  # before anything changes an existing graph, which is its own reference
    _simplify,
    _verify,
    _precision,
    _profile,  # before it fails
    _verify_lowered,
    expand_engine_stages,
    expand_verify_engine_stages,
    expand_benchmark_stages,
    _repeat,
)
"""Each gives the steps it has for a request: none where it is switched off, several where it fans out."""


def stages_for(request: Request) -> Steps:
    """The steps of one build, in the order they run."""
    return tuple(step for steps in STAGES for step in steps(request))
