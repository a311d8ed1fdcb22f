"""One deployment: the choice of files and names, the objections, and the change itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.config.groups.deploy import DeploySettings, InstanceKind, Service, TritonBackend
from cosybuild.deploy.deliverable import GRAPH, PLAN, Deliverable, read_deliverables
from cosybuild.deploy.names import Row, bundle_name, rows_for
from cosybuild.deploy.ownership import NewDeployment, files_of, retired_by
from cosybuild.deploy.publish import changing, prune, publish
from cosybuild.deploy.signed import signed_list
from cosybuild.deploy.staging import Put
from cosybuild.deploy.state import read_current
from cosybuild.deploy.triton import config_text, model_file, model_name
from cosybuild.errors import ConfigurationError, DeployError
from cosybuild.manifest import NEXT, SUFFIX, manifest_text
from cosybuild.system.environment import Environment

Profiles = Sequence[Mapping[str, Sequence[int]]]


@dataclass(frozen=True)
class Placement:
    """An artifact and its name in the directory in service."""

    item: Deliverable
    name: str


def deploy(
    artifacts: Path,
    settings: DeploySettings,
    environment: Environment,
    *,
    profiles: Profiles = (),
    pending: Sequence[str] = (),
) -> dict[str, Any]:
    """Put a run's deliverables into service.

    Args:
        artifacts: the run's artifacts/, files with manifests.
        environment: gives the GPU of this machine if `target_sm` is not set.
        profiles: symbol -> min, opt, max; for the warm-up and the largest batch of a Triton model.
        pending: parts of the run that still wait for another machine.

    Returns:
        Plain facts for the report: service, dir, files, retired, backup (of this change, or of the last one if
        nothing changed), changed (False if the directory already has this deployment), forced (the objections that
        `force` overrode).

    Raises:
        DeployError: there is an objection and `force` is not set; nothing has changed then.
        ConfigurationError: the settings do not fit what was delivered, or the key to sign with cannot be used.
    """
    assert settings.dir is not None, "config.rules demands it"
    items = read_deliverables(artifacts)
    target_sm = _target_sm(settings, environment)
    root, placements, extra, derived = _choose(items, settings, target_sm, profiles)
    objections = [*(f"the run is pending: {p}" for p in pending), *_objections(placements, target_sm)]
    if objections and not settings.force:
        raise DeployError(
            f"deploy={settings.service.value} is refused: {'; '.join(objections)}.",
            hint="Next: build what is missing, or set deploy.force=true, which the manifests record.",
        )
    puts = [put for placement in placements for put in _puts(placement, settings, objections)] + extra
    brought = {put.name: put.sha256 for put in puts}
    new = NewDeployment(settings.service.value, [(p.item, p.name) for p in placements], items, brought)
    leftovers = [name for name in brought if name.endswith(NEXT)]
    with changing(root):
        retired = sorted({*_present(root, derived, brought), *retired_by(root, new, read_current(root).files)})
        removes = [*files_of(root, retired, brought), *leftovers]
        if settings.sign is not None:
            stays = set(read_current(root).files) - set(removes)
            lasting = {put.name: digest for put in puts if put.name not in removes and (digest := put.digest)}
            puts += signed_list(root, lasting, stays, Path(settings.sign))
        number = publish(root, puts, removes)
        last = read_current(root).number
        prune(root, settings.keep_backups)
    return {
        "service": settings.service.value,
        "dir": str(root),
        "files": {p.name: p.item.manifest["file"]["sha256"] for p in placements},
        "retired": retired,
        "backup": last,
        "changed": number is not None,
        "forced": objections,
    }


def _target_sm(settings: DeploySettings, environment: Environment) -> int | None:
    if settings.target_sm is not None:
        return settings.target_sm
    return environment.gpus[0].sm if environment.gpus else None


def _choose(
    items: list[Deliverable], settings: DeploySettings, sm: int | None, profiles: Profiles
) -> tuple[Path, list[Placement], list[Put], list[str]]:
    """Return the directory, artifacts with names, further files, and patterns of files derived from the graphs."""
    root = Path(settings.dir or "")
    if settings.service is Service.bundle:
        if not items:
            raise DeployError("the run has no artifact that can be deployed.")
        return root, [Placement(item, bundle_name(item)) for item in items], [], []
    if settings.service is Service.triton:
        return _triton(items, settings, sm, profiles)
    rows = rows_for(settings.service, items)
    placements = [
        Placement(item, row.name.format(id=settings.device_id)) for row in rows if (item := _fitting(row, items, sm))
    ]
    placed = {placement.name for placement in placements}
    for row in rows:
        if row.required and row.name not in placed:
            raise DeployError(
                f"deploy={settings.service.value} needs {row.name}: a {row.dtype} {row.kind} with "
                f"{'dynamic' if row.dynamic_batch else 'fixed'} batch and "
                f"{'streaming' if row.streaming else 'full'} attention. The run delivered: "
                f"{'; '.join(item.describe() for item in items)}.",
                hint="Next: use the command in docs/runtimes.md that builds it.",
            )
    # Graphs come first: see `deploy.publish`.
    placements.sort(key=lambda placement: placement.item.kind == PLAN)
    return root, placements, [], [pattern for row in rows for pattern in row.derived]


def _fitting(row: Row, items: Sequence[Deliverable], sm: int | None) -> Deliverable | None:
    """Return the artifact for a row, preferring an engine for the target and the plain graph."""
    candidates = [item for item in items if row.takes(item)]
    if row.kind == PLAN:
        candidates.sort(key=lambda item: not (sm is not None and item.runs_on(sm)))
    else:
        candidates.sort(key=lambda item: item.manifest.get("slot") != "graph")
    return candidates[0] if candidates else None


def _triton(
    items: list[Deliverable], settings: DeploySettings, sm: int | None, profiles: Profiles
) -> tuple[Path, list[Placement], list[Put], list[str]]:
    wanted, triton = settings.triton.backend, settings.triton
    plans = [item for item in items if item.kind == PLAN and item.library == "tensorrt"]
    plans.sort(key=lambda item: not (sm is not None and item.runs_on(sm)))
    # Prefer the plain graph if there is also a lowered one: then the half precision is served by a plan.
    graphs = sorted((i for i in items if i.kind == GRAPH), key=lambda i: i.manifest.get("slot") != "graph")
    order = {TritonBackend.auto: plans + graphs, TritonBackend.tensorrt: plans, TritonBackend.onnxruntime: graphs}
    if not order[wanted]:
        raise DeployError(
            f"deploy=triton deploy.triton.backend={wanted.value} has no artifact to serve. The run delivered: "
            f"{'; '.join(item.describe() for item in items) or 'nothing'}.",
            hint="Next: trt=fp16 on a machine with TensorRT and a GPU builds a plan; or use the other backend.",
        )
    item = order[wanted][0]
    if item.kind == PLAN and triton.kind is InstanceKind.cpu:
        raise ConfigurationError(
            "deploy.triton.kind=cpu cannot run a TensorRT plan.",
            hint="Next: deploy.triton.backend=onnxruntime, or deploy.triton.kind=gpu.",
        )
    if not profiles:
        raise ConfigurationError("deploy=triton needs a trt_profile, which gives the warm-up and the largest batch.")
    name = f"{triton.version}/{model_file(item)}"
    config = Put("config.pbtxt", config_text(item, triton, _widest(profiles)))
    # The top level of a repository may hold models only, so backups are stored in the model's directory.
    root = Path(settings.dir or "") / model_name(item, triton)
    return root, [Placement(item, name)], [config], [f"{triton.version}/model.*"]


def _widest(profiles: Profiles) -> dict[str, list[int]]:
    """Return one range for each symbol: the smallest min of all profiles, the first opt, and the largest max."""
    return {
        symbol: [min(p[symbol][0] for p in profiles), profiles[0][symbol][1], max(p[symbol][2] for p in profiles)]
        for symbol in profiles[0]
    }


def _objections(placements: Sequence[Placement], sm: int | None) -> list[str]:
    found = []
    for item in {id(p.item): p.item for p in placements}.values():
        name, manifest = item.path.name, item.manifest
        if manifest.get("verified") is not True:
            waits = "; ".join(manifest.get("pending", ()))
            failed = manifest.get("verified") is False
            found.append(
                f"{name} {'failed its verification' if failed else 'was not verified'}" + (waits and f" ({waits})")
            )
        if item.model.get("random_weights"):
            found.append(f"{name} was made from random weights")
        if item.kind == PLAN and sm is None:
            found.append(
                f"{name} was built for sm_{item.sm}, and deploy.target_sm does not name the GPU of the service"
            )
        elif item.kind == PLAN and sm is not None and not item.runs_on(sm):
            found.append(f"{name} was built for sm_{item.sm}, and the target is sm_{sm}")
    return found


def _puts(placement: Placement, settings: DeploySettings, forced: Sequence[str]) -> list[Put]:
    """Return the puts of one artifact: next manifest, companions, artifact, final manifest, in this order."""
    item, manifest = placement.item, placement.item.manifest
    folder, _, own = placement.name.rpartition("/")
    prefix = f"{folder}/" if folder else ""
    deployment = {"service": settings.service.value, "built_as": item.path.name, "forced": list(forced)}
    file = {**manifest["file"], "name": own}
    text = manifest_text(file, manifest["companions"], {**manifest, "deployment": deployment})
    companions = zip(item.companions, manifest["companions"], strict=True)
    return [
        Put(placement.name + SUFFIX + NEXT, text),
        *(Put(prefix + path.name, path, fact["sha256"]) for path, fact in companions),
        Put(placement.name, item.path, manifest["file"]["sha256"]),
        Put(placement.name + SUFFIX, text),
    ]


def _present(root: Path, patterns: Sequence[str], brought: Mapping[str, object]) -> list[str]:
    """Return existing files that were made from a replaced file, and that a runtime uses without a check."""
    found = {path.relative_to(root).as_posix() for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    return [name for name in found if name not in brought and not name.endswith((SUFFIX, NEXT))]


def facts_text(facts: Mapping[str, Any]) -> str:
    """Return a deployment's facts as a few lines for people."""
    # Reports of earlier versions lack `changed`; they recorded only deployments that changed the directory.
    if not facts.get("changed", True):
        return f"{facts['dir']} already has this deployment ({facts['service']}); nothing was changed"
    lines = [f"deployed to {facts['dir']} ({facts['service']}), backup {facts['backup']:04}"]
    lines += [f"  {name}" for name in facts["files"]]
    lines += [f"  retired {name}: this deployment replaces it, and the backup keeps it" for name in facts["retired"]]
    lines += [f"  forced: {reason}" for reason in facts["forced"]]
    return "\n".join(lines)
