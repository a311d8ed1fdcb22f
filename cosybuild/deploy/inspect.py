"""What stands in a directory in service: current, stale, foreign or damaged, told file by file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.backends.tensorrt.loadability import check_plan
from cosybuild.core.environment import Environment
from cosybuild.deploy.publish import STATE
from cosybuild.manifest import damage, fitting_manifest
from cosybuild.onnxgraph.header import read_header

GRAPHS = (".onnx",)
PLANS = (".plan", ".engine", ".trt")

CURRENT, STALE, FOREIGN, DAMAGED = "current", "stale", "foreign", "damaged"
"""current: the file its manifest describes; stale: made from other weights than the graph beside it, or
replaced since; foreign: without a manifest; damaged: empty, cut off, or with a manifest that cannot be read."""


@dataclass(frozen=True)
class Finding:
    """One file.

    Attributes:
        name: below the directory.
        state: one of the four.
        reason: why, in words; what forced its deployment where it is current.
        loads: whether this machine can load it; None for graphs and where it is not known.
        loading: for engines, both sides in words.
    """

    name: str
    state: str
    reason: str
    loads: bool | None = None
    loading: str = ""


def inspect(path: Path, environment: Environment) -> list[Finding]:
    """Look at one file, or at every graph and engine below a directory. Nothing is executed."""
    if path.is_file():
        return [_finding(path, path.name, environment)]
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and STATE not in file.parts]
    found = [
        _finding(file, file.relative_to(path).as_posix(), environment)
        for file in files
        if file.suffix in GRAPHS + PLANS
    ]
    return list(_against_graphs(path, found))


def _finding(path: Path, name: str, environment: Environment) -> Finding:
    loads, loading = None, ""
    if path.suffix in PLANS:
        verdict = check_plan(path, environment)
        loads, loading = verdict.loads, verdict.explain()
    if path.stat().st_size == 0:
        return Finding(name, DAMAGED, "it is empty: an interrupted build or copy left it", loads, loading)
    try:
        manifest = fitting_manifest(path)
        if path.suffix in GRAPHS:
            read_header(path)
    except ValueError as error:
        return Finding(name, DAMAGED, str(error), loads, loading)
    if manifest is None:
        return Finding(name, FOREIGN, "it has no manifest: cosybuild did not put it there", loads, loading)
    harm = damage(path, manifest)
    if harm is not None:
        return Finding(name, STALE, harm, loads, loading)
    forced = manifest.get("deployment", {}).get("forced", [])
    return Finding(name, CURRENT, f"deployed by force: {'; '.join(forced)}" if forced else "", loads, loading)


def _against_graphs(root: Path, found: list[Finding]) -> Iterator[Finding]:
    """A plan that was made from other weights than every graph of the same model beside it is stale."""
    current = {finding.name: _model(root / finding.name) for finding in found if finding.state == CURRENT}
    for finding in found:
        folder, stem = (
            str(Path(finding.name).parent),
            Path(finding.name).name.split(".fp", 1)[0].split(".autocast", 1)[0],
        )
        beside = [
            _weights(model)
            for name, model in current.items()
            if name.endswith(GRAPHS) and str(Path(name).parent) == folder and Path(name).name.startswith(stem + ".")
        ]
        mine = current.get(finding.name)
        if finding.name.endswith(PLANS) and mine is not None and beside and _weights(mine) not in beside:
            reason = f"it was made from {mine.get('weights')}, and the graph beside it from other weights"
            yield Finding(finding.name, STALE, reason, finding.loads, finding.loading)
        else:
            yield finding


def _model(path: Path) -> dict[str, Any]:
    manifest = fitting_manifest(path)
    assert manifest is not None
    return dict(manifest.get("model", {}))


def _weights(model: dict[str, Any]) -> tuple[Any, ...]:
    return model.get("weights_digest") or model.get("weights"), model.get("family"), model.get("streaming")
