"""The retirement of files of earlier deployments that must not stay beside a new one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.deploy.deliverable import Deliverable
from cosybuild.errors import DeployError
from cosybuild.identity import build_of, part_of, weights_part
from cosybuild.manifest import NEXT, SUFFIX, manifest_path, parse_manifest, read_manifest

GRAPHS = (".onnx",)
PLANS = (".plan", ".engine", ".trt")
IRS = (".xml",)


@dataclass(frozen=True)
class NewDeployment:
    """The files of the deployment that is being made.

    Attributes:
        service: the value of `deploy.service`.
        items: the deployed artifacts, each with its name below the directory.
        delivered: all artifacts that the run delivered. They show which engines were built elsewhere from the same
            graph.
        puts: name -> sha256 of all files that are put in place; None if the sha256 is not known.
    """

    service: str
    items: Sequence[tuple[Deliverable, str]]
    delivered: Sequence[Deliverable]
    puts: Mapping[str, str | None]


@dataclass(frozen=True)
class PresentArtifact:
    """A graph, engine or IR that is already in a directory in service.

    Attributes:
        name: its name below the directory.
        manifest: the manifest beside it; None if there is none or it cannot be read.
        is_ours: True if a deployment put the file there.
    """

    name: str
    manifest: Mapping[str, Any] | None
    is_ours: bool


def retired_by(root: Path, new: NewDeployment, recorded: Mapping[str, str]) -> list[str]:
    """Return the artifacts in `root` that are not part of the new deployment and must not stay beside it.

    Only files that a deployment put there are returned, never a user's own. An artifact of the same part of a model is
    retired if it

    - comes from another build (`cosybuild.identity`);
    - is the same variant (attention, batch) for the same service, unless it is an engine that another machine of a
      fleet has built from a graph of this run;
    - has a manifest that cannot be read, or refers to a file of weights that is replaced.

    Other variants of the same build stay: streaming beside full attention, dynamic batch beside fixed, an estimator
    with caches beside one without.

    Args:
        root: the directory in service.
        new: the new deployment.
        recorded: name -> sha256 of the files that deployments have put into the directory.

    Returns:
        The names of the artifacts below `root`.

    Raises:
        DeployError: the directory has an artifact of another build that no deployment put there.
    """
    folders = {name.rpartition("/")[0] for _, name in new.items}
    return [
        present.name
        for present in present_artifacts(root, folders, recorded)
        if present.name not in new.puts and _must_be_retired(root, present, new)
    ]


def files_of(root: Path, names: Iterable[str], puts: Mapping[str, str | None]) -> list[str]:
    """Return all files of retired artifacts: the artifacts, their manifests, and weights that no other artifact uses.

    Args:
        root: the directory in service.
        names: the names of the retired artifacts.
        puts: the files that the deployment puts in place, which are left out.
    """
    gone = list(names)
    folders = {name.rpartition("/")[0] for name in gone}
    kept = {
        companion
        for present in present_artifacts(root, folders, {})
        if present.name not in gone
        for companion in _companions(present)
    }
    found = []
    for name in gone:
        mine = next((s for s in present_artifacts(root, {name.rpartition("/")[0]}, {name: ""}) if s.name == name), None)
        companions = [] if mine is None else _companions(mine)
        found += [name, name + SUFFIX, name + SUFFIX + NEXT, *(c for c in companions if c not in kept)]
    return [name for name in dict.fromkeys(found) if name not in puts and (root / name).exists()]


def present_artifacts(root: Path, folders: Iterable[str], recorded: Mapping[str, str]) -> list[PresentArtifact]:
    """Return the artifacts in folders below `root` that have a manifest or that a deployment put there.

    Args:
        root: the directory in service.
        folders: the paths of the folders below `root`; an empty text for `root` itself.
        recorded: name -> sha256 of the files that deployments have put there.
    """
    found = []
    for folder in sorted(folders):
        for path in sorted((root / folder).glob("*")):
            name = path.relative_to(root).as_posix()
            if path.suffix not in (*GRAPHS, *PLANS, *IRS) or not path.is_file():
                continue
            is_ours = name in recorded
            try:
                manifest = read_manifest(path)
                is_ours = is_ours or "deployment" in (manifest or {})
            except ValueError:
                manifest, is_ours = None, is_ours or _was_deployed(path)
            if manifest is not None or is_ours:
                found.append(PresentArtifact(name, manifest, is_ours))
    return found


def _was_deployed(path: Path) -> bool:
    """Return True if a manifest that must not be used, such as one without a seal, still says that it was deployed."""
    try:
        return "deployment" in (parse_manifest(manifest_path(path)) or {})
    except ValueError:
        return False


def _must_be_retired(root: Path, present: PresentArtifact, new: NewDeployment) -> bool:
    part = part_of(present.name, present.manifest)
    parts = [(item, part_of(item.path.name, item.manifest)) for item, _ in new.items]
    rivals = [item for item, other in parts if weights_part(other) == weights_part(part)]
    if not rivals:
        return False
    if present.manifest is None:
        return True
    mine, theirs = build_of(present.manifest), build_of(rivals[0].manifest)
    if mine.key != theirs.key:
        if present.is_ours:
            return True
        raise DeployError(
            f"{root / present.name} comes from another build than this deployment ({mine}; this one: {theirs}), and "
            "no deployment wrote it, so it is not replaced.",
            hint="Next: move it and its manifest to another place, or deploy to another directory.",
        )
    if not present.is_ours:
        return False
    if any(new.puts.get(name, digest) != digest for name, digest in _companions(present).items()):
        return True
    deployment = present.manifest.get("deployment") or {}
    old = Deliverable(root / present.name, dict(present.manifest))
    same = (part, old.streaming, old.dynamic_batch) in {
        (other, item.streaming, item.dynamic_batch) for item, other in parts
    }
    source = (present.manifest.get("built_from") or {}).get("onnx_sha256")
    elsewhere = source is not None and source in {item.manifest["file"]["sha256"] for item in new.delivered}
    return same and deployment.get("service") == new.service and not elsewhere


def _companions(present: PresentArtifact) -> dict[str, str]:
    folder = present.name.rpartition("/")[0]
    prefix = f"{folder}/" if folder else ""
    return {prefix + fact["name"]: fact["sha256"] for fact in (present.manifest or {}).get("companions", ())}
