"""Right and faulty builds of the tiny models for planted_faults.py, made by the normal stages."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults import Fault

from cosybuild.building.stage import RunContext
from cosybuild.config.groups.export import ExportSettings
from cosybuild.config.groups.model import ModelSettings
from cosybuild.config.groups.precision import PrecisionSettings, Target
from cosybuild.config.groups.simplify import SimplifySettings
from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.config.groups.verify import Provider, VerifySettings
from cosybuild.config.settings import Settings
from cosybuild.digest import digest_of
from cosybuild.models.resolve import resolve_subject
from cosybuild.onnxgraph.files import load_model, save_model
from cosybuild.request import Request
from cosybuild.stages.export import ExportStage
from cosybuild.stages.reference import ReferenceStage
from cosybuild.stages.simplify import SimplifyStage
from cosybuild.store.artifact import Artifact, StoredFile
from cosybuild.store.result import StageResult

ROOT = Path(__file__).resolve().parents[1]
UNCHECKED = 1e30
"""A value of precision.data_max with which every range is lowered."""


@dataclass
class Build:
    """The build of one model by the normal stages.

    Attributes:
        heard: the facts in the stages' events.
    """

    request: Request
    directory: Path
    heard: list[dict[str, Any]] = field(default_factory=list)

    def run(self, stage: Any, request: Request | None = None, **inputs: Artifact) -> StageResult:
        weights = self.request.subject.weights
        if weights is not None and "weights?" in stage.needs:
            inputs["weights"] = artifact_of("weights", [weights])
        self.directory.mkdir(parents=True, exist_ok=True)
        workdir = Path(tempfile.mkdtemp(prefix=f"{stage.name}-", dir=self.directory))
        context = RunContext(request or self.request, inputs, workdir, self._hear)
        result: StageResult = stage.run(context)
        return result

    def make(self, stage: Any, slot: str, request: Request | None = None, **inputs: Artifact) -> Artifact:
        return artifact_of(slot, list(self.run(stage, request, **inputs).outputs[slot]))

    def _hear(self, _: str, **facts: Any) -> None:
        self.heard.append(facts)


def request_of(fault: Fault) -> Request:
    """Return the request of a build of the fault's tiny model."""
    directory, model = ROOT / "tests" / "data" / f"{fault.model}_tiny", ModelSettings(streaming=fault.streaming)
    settings = Settings(
        model_dir=str(directory),
        model=model,
        export=ExportSettings(dynamic_batch=fault.dynamic_batch),
        simplify=SimplifySettings(),
        precision=PrecisionSettings(target=Target.fp16, data_max=UNCHECKED) if fault.lowered else PrecisionSettings(),
        verify=VerifySettings(provider=Provider.cpu),
        trt_profile=ProfileSettings(profiles=({"seq_len": RangeSettings(4, 24, 64)},)),
    )
    return Request(settings, resolve_subject(model, settings.model_dir, fault.dynamic_batch))


@dataclass(frozen=True)
class Made:
    """The artifacts of a build, before verification."""

    build: Build
    reference: Artifact
    exported: Artifact
    graph: Artifact


def right_build(fault: Fault, directory: Path) -> Made:
    """Build without a fault; the result is the same for all faults of one model."""
    build = Build(request_of(fault), directory)
    reference = build.make(ReferenceStage(), "reference")
    exported = build.make(ExportStage(), "graph")
    return Made(build, reference, exported, build.make(SimplifyStage(), "graph", graph=exported))


def planted_in(fault: Fault, right: Made, directory: Path) -> Made:
    """Build with the fault; results that it does not affect are those of the right build."""
    build, exported, graph = Build(right.build.request, directory), right.exported, right.graph
    if fault.in_export:
        with fault.exporting():
            exported = build.make(ExportStage(), "graph")
        graph = build.make(SimplifyStage(), "graph", graph=exported)
    if fault.spoil is not None:
        model = load_model(graph.path)
        fault.spoil(model)
        (directory / "spoiled").mkdir(parents=True)
        graph = artifact_of("graph", save_model(model, directory / "spoiled" / graph.path.name))
    return Made(build, right.reference, exported, graph)


def artifact_of(slot: str, paths: Sequence[Path]) -> Artifact:
    return Artifact(slot, tuple(StoredFile(p.name, p, digest_of(p), p.stat().st_size) for p in paths))
