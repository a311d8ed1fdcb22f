"""The order of the pipeline, in one place: who makes steps out of a request, first to last."""

from __future__ import annotations

from collections.abc import Callable

from cosybuild.core.stage import Stage
from cosybuild.stages.export import ExportStage
from cosybuild.stages.request import Request
from cosybuild.stages.simplify import SimplifyStage
from cosybuild.stages.verify import VerifyStage

Steps = tuple[Stage[Request], ...]


def _export(request: Request) -> Steps:
    # An existing graph is a source; there is nothing to export then.
    return (ExportStage(),) if request.subject.graph is None else ()


def _simplify(request: Request) -> Steps:
    return (SimplifyStage(),) if request.settings.simplify is not None else ()


def _verify(request: Request) -> Steps:
    return (VerifyStage(),) if request.settings.verify is not None else ()


STAGES: tuple[Callable[[Request], Steps], ...] = (
    _export,
    _simplify,
    _verify,
)
"""Each gives the steps it has for a request: none where it is switched off, several where it fans out."""


def stages_for(request: Request) -> Steps:
    """The steps of one build, in the order they run."""
    return tuple(step for steps in STAGES for step in steps(request))
