"""Runs the two stages as a build does: from artifacts to artifacts and metrics."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from cosybuild.building.stage import RunContext
from cosybuild.config.groups.model import Family
from cosybuild.config.groups.precision import PrecisionSettings
from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.config.groups.verify import Provider, VerifySettings
from cosybuild.config.settings import Settings
from cosybuild.models.spec import ModelSpec
from cosybuild.models.subject import Subject
from cosybuild.request import Request
from cosybuild.stages.precision import PrecisionStage
from cosybuild.stages.verify_lowered import VerifyLoweredStage
from cosybuild.store.artifact import Artifact, StoredFile
from cosybuild.store.result import StageResult


def request(spec: ModelSpec, *, sizes: tuple[int, int, int] = (4, 24, 60), **precision: Any) -> Request:
    ranges = {symbol: RangeSettings(*sizes) for symbol in spec.symbols}
    settings = Settings(
        precision=PrecisionSettings(**precision),
        verify=VerifySettings(provider=Provider.cpu),
        trt_profile=ProfileSettings(profiles=(ranges,) if ranges else ()),
    )
    return Request(settings, Subject(Family.cosyvoice2, spec, {}, stem="flow.decoder.estimator"))


def artifact(slot: str, *paths: Path) -> Artifact:
    files = [StoredFile(p.name, p, hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_size) for p in paths]
    return Artifact(slot, tuple(files))


def context(asked: Request, workdir: Path, **inputs: Artifact) -> RunContext:
    workdir.mkdir(parents=True, exist_ok=True)
    return RunContext(asked, inputs, workdir, lambda kind, **facts: None)


def lower(asked: Request, graph: Path, workdir: Path, *calibration: Path) -> StageResult:
    inputs = {"graph": artifact("graph", graph)}
    if calibration:
        inputs["calibration"] = artifact("calibration", *calibration)
    return PrecisionStage(asked.settings.precision.method).run(context(asked, workdir, **inputs))


def verify(asked: Request, graph: Path, lowered: Path, workdir: Path) -> StageResult:
    inputs = {"graph": artifact("graph", graph), "lowered": artifact("lowered", lowered)}
    return VerifyLoweredStage().run(context(asked, workdir, **inputs))
