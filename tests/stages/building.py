"""Runs export, simplify and verify as a build does, and keeps their events."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosybuild.building.stage import RunContext
from cosybuild.config.groups.export import ExportSettings
from cosybuild.config.groups.model import Family, ModelSettings, TensorSettings
from cosybuild.config.groups.simplify import SimplifySettings
from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.config.groups.verify import Provider, VerifySettings
from cosybuild.config.settings import Settings
from cosybuild.models.resolve import resolve_subject
from cosybuild.request import Request
from cosybuild.stages.export import ExportStage
from cosybuild.stages.import_onnx import ImportOnnxStage
from cosybuild.stages.reference import ReferenceStage
from cosybuild.stages.simplify import SimplifyStage
from cosybuild.stages.verify import EXPORTED, VerifyStage
from cosybuild.store.artifact import Artifact, StoredFile
from cosybuild.store.result import StageResult

DATA = Path(__file__).parents[1] / "data"
TINY = ("cosyvoice1", "cosyvoice2", "cosyvoice3")
STREAMING = ("cosyvoice2", "cosyvoice3")


@dataclass
class Bench:
    """One build in `directory`.

    Attributes:
        events: every (kind, facts) that a stage emitted.
    """

    asked: Request
    directory: Path
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def adopt(self, graph: Artifact) -> StageResult:
        return self._run("adopt", ImportOnnxStage(), graph=graph)

    def export(self) -> StageResult:
        return self._run("export", ExportStage())

    def simplify(self, graph: Artifact) -> StageResult:
        return self._run("simplify", SimplifyStage(), graph=graph)

    def reference(self, graph: Artifact | None = None) -> StageResult:
        """Return the reference: the model's module, or the existing graph itself."""
        foreign = self.asked.subject.graph is not None
        return self._run("reference", ReferenceStage(foreign), **({"graph": graph} if foreign and graph else {}))

    def verify(
        self, graph: Artifact, exported: Artifact | None = None, reference: Artifact | None = None
    ) -> StageResult:
        """Verify against `reference`, or against a new one if it is None.

        Args:
            exported: the graph before `simplify`.
        """
        if reference is None:
            reference = artifact("reference", self.reference(graph).outputs["reference"])
        inputs = {"graph": graph, "reference": reference, **({EXPORTED: exported} if exported else {})}
        return self._run("verify", VerifyStage(), **inputs)

    def _run(self, name: str, stage: Any, **inputs: Artifact) -> StageResult:
        weights = self.asked.subject.weights
        if weights is not None and any("weights" in need for need in stage.needs):
            inputs["weights"] = artifact("weights", [weights])
        workdir = self.directory / name
        workdir.mkdir(parents=True)
        context = RunContext(self.asked, inputs, workdir, lambda kind, **facts: self.events.append((kind, facts)))
        result: StageResult = stage.run(context)
        assert {path.name for paths in result.outputs.values() for path in paths} == {
            path.name for path in workdir.iterdir()
        }, "a stage leaves nothing but its outputs"
        return result


def artifact(slot: str, paths: Sequence[Path]) -> Artifact:
    files = [StoredFile(p.name, p, hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_size) for p in paths]
    return Artifact(slot, tuple(files))


def graph_of(result: StageResult) -> Artifact:
    return artifact("graph", list(result.outputs["graph"]))


def request(
    model: ModelSettings,
    model_dir: Path | None = None,
    *,
    sizes: dict[str, tuple[int, int, int]] | None = None,
    verify: dict[str, Any] | None = None,
    **export: Any,
) -> Request:
    ranges = {s: RangeSettings(*r) for s, r in ({"seq_len": (4, 24, 64)} if sizes is None else sizes).items()}
    settings = Settings(
        model_dir=None if model_dir is None else str(model_dir),
        model=model,
        export=ExportSettings(**export),
        simplify=SimplifySettings(),
        verify=VerifySettings(**{"provider": Provider.cpu, **(verify or {})}),
        trt_profile=ProfileSettings(profiles=(ranges,) if ranges else ()),
    )
    return Request(settings, resolve_subject(model, settings.model_dir, settings.export.dynamic_batch))


def tiny(family: str, *, streaming: bool = False, **others: Any) -> Request:
    """Return a model directory of the fixtures."""
    return request(ModelSettings(streaming=streaming), DATA / f"{family}_tiny", **others)


def full_size(family: str, *, streaming: bool = False, **others: Any) -> Request:
    """Return the settings of a full-size model with random weights."""
    model = ModelSettings(family=Family(family), streaming=streaming)
    return request(model, **{"sizes": {"seq_len": (4, 500, 3000)}, **others})


def module(name: str, inputs: Sequence[TensorSettings], outputs: Sequence[TensorSettings], **others: Any) -> Request:
    """Return the settings of a class of `tests.stages.modules`."""
    arguments = others.pop("arguments", {})
    target = {"_target_": f"tests.stages.modules.{name}", **arguments}
    return request(
        ModelSettings(family=Family.module, target=target, inputs=tuple(inputs), outputs=tuple(outputs)),
        **{"sizes": {}, **others},
    )
