"""The choice of the artifacts that a service reads, and of their names in the directory in service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosybuild.config.groups.deploy import DeploySettings, InstanceKind, Service, TritonBackend
from cosybuild.deploy.deliverable import GRAPH, PLAN, Deliverable
from cosybuild.deploy.services import Row, bundle_name, rows_for
from cosybuild.deploy.staging import Put
from cosybuild.deploy.triton import config_text, model_file, model_name
from cosybuild.deploy.triton_voice import voice_config, voice_model, voice_model_name
from cosybuild.deploy.voice import is_whole
from cosybuild.errors import ConfigurationError, DeployError

Profiles = Sequence[Mapping[str, Sequence[int]]]


@dataclass(frozen=True)
class Placement:
    """An artifact to deploy, and its name in the directory in service."""

    item: Deliverable
    name: str


def choose(
    items: list[Deliverable], settings: DeploySettings, sm: int | None, profiles: Profiles
) -> tuple[Path, list[Placement], list[Put], list[str]]:
    """Choose the directory, the artifacts and the further files of a deployment.

    Args:
        items: the artifacts of the run.
        settings: the settings of the deployment.
        sm: the compute capability, times ten, of the target GPU; None if it is not known.
        profiles: axis -> min, opt and max of each profile.

    Returns:
        The directory in service, the artifacts with their names, further files to write, and patterns of the names of
            files to retire.

    Raises:
        DeployError: the run lacks an artifact that the service needs.
        ConfigurationError: the settings do not fit the artifacts.
    """
    root = Path(settings.dir or "")
    if settings.service is Service.bundle:
        if not items:
            raise DeployError("the run has no artifact that can be deployed.")
        return root, [Placement(item, bundle_name(item)) for item in items], [], []
    if settings.service is Service.triton:
        return _voice(items, settings) if is_whole(items) else _triton(items, settings, sm, profiles)
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
    # Place graphs before plans, for the reason that `deploy.transaction` gives.
    placements.sort(key=lambda placement: placement.item.kind == PLAN)
    return root, placements, [], [pattern for row in rows for pattern in row.retires]


def _fitting(row: Row, items: Sequence[Deliverable], sm: int | None) -> Deliverable | None:
    """Return the artifact for a row of the table; None if there is none.

    Of several engines, prefer one that runs on the target GPU. Of several graphs, prefer the one that is not lowered.
    """
    candidates = [item for item in items if row.takes(item)]
    if row.kind == PLAN:
        candidates.sort(key=lambda item: not (sm is not None and item.runs_on(sm)))
    else:
        candidates.sort(key=lambda item: item.manifest.get("slot") != "graph")
    return candidates[0] if candidates else None


def _voice(items: list[Deliverable], settings: DeploySettings) -> tuple[Path, list[Placement], list[Put], list[str]]:
    """Return the files of a Triton model that computes a whole voice, in the form of `choose`."""
    triton = settings.triton
    if triton.backend is not TritonBackend.auto:
        raise ConfigurationError(
            f"deploy.triton.backend={triton.backend.value} is about one network; a whole voice is served by Triton's "
            "Python backend.",
            hint="Next: remove deploy.triton.backend, or build one network, for example with component=estimator.",
        )
    root = Path(settings.dir or "") / voice_model_name(triton)
    placements = [Placement(item, f"{triton.version}/{bundle_name(item)}") for item in items]
    extra = [Put("config.pbtxt", voice_config(triton, items)), Put(f"{triton.version}/model.py", voice_model())]
    return root, placements, extra, []


def _triton(
    items: list[Deliverable], settings: DeploySettings, sm: int | None, profiles: Profiles
) -> tuple[Path, list[Placement], list[Put], list[str]]:
    wanted, triton = settings.triton.backend, settings.triton
    plans = [item for item in items if item.kind == PLAN and item.library == "tensorrt"]
    plans.sort(key=lambda item: not (sm is not None and item.runs_on(sm)))
    # If there are a float32 graph and a lowered one, prefer the float32 graph: a plan serves the smaller precision.
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
    """Return one range for each axis: the smallest min of all profiles, the first opt, and the largest max."""
    return {
        symbol: [min(p[symbol][0] for p in profiles), profiles[0][symbol][1], max(p[symbol][2] for p in profiles)]
        for symbol in profiles[0]
    }
