"""Directories in service with the parts of a tiny voice: exported graphs and the manifests that a run writes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import ModelSettings
from cosybuild.manifest import read_manifest, write_manifest
from cosybuild.models.artifact_name import artifact_name
from cosybuild.models.resolve import resolve_subject
from cosybuild.request import Request
from cosybuild.run.artifact_manifest import _interface
from cosybuild.run.facts import model_facts
from tests.models.fixtures import DATA
from tests.stages.building import Bench, artifact, request

FLOW = (ComponentName.frontend, ComponentName.estimator)


def add_part(
    service: Path,
    directory: Path,
    component: ComponentName,
    streaming: bool,
    work: Path,
    cache_frames: int | None = None,
    *,
    cached: bool = False,
) -> Path:
    """Export one network of a model directory into a directory in service; return the graph."""
    model = ModelSettings(streaming=streaming, cache=cached, cache_frames=cache_frames)
    subject = resolve_subject(model, str(directory), False, component)
    asked = Request(request(ModelSettings(), directory).settings, subject)
    (exported,) = Bench(asked, work).export().outputs["graph"]
    name = artifact_name(subject)
    path = Path(shutil.copy(exported, service / name))
    assert subject.weights is not None
    facts = model_facts(asked, {"weights": artifact("weights", [subject.weights])})
    interface = _interface(artifact("graph", [path]).files[0], None)
    write_manifest(path, {"verified": True, "slot": "graph", "model": facts, "interface": interface})
    return path


def new_service(root: Path, version: int) -> Path:
    """Export all parts of a tiny voice: full attention, and streaming attention if the version has it."""
    service, directory = root / "service", DATA / f"token2wav{version}_tiny"
    service.mkdir(parents=True)
    for component in (*FLOW, ComponentName.vocoder):
        for streaming in (False, True)[: 1 if version == 1 or component is ComponentName.vocoder else 2]:
            add_part(service, directory, component, streaming, root / f"{component.value}-{streaming}")
    return service


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest and seal it again."""
    manifest = read_manifest(path)
    assert manifest is not None
    change(manifest)
    write_manifest(path, manifest)
