"""The estimators of a directory in service, read as one state although a deployment may change it meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from cosybuild.errors import ArtifactRefused, CosybuildError
from cosybuild.identity import ESTIMATOR, Build, build_of, other_builds, part_of
from cosybuild.inservice import View, view_of
from cosybuild.manifest import read_manifest
from cosybuild.runtime.admission import ENGINE_SUFFIXES, GRAPH_SUFFIX

_ATTEMPTS = 5

T = TypeVar("T")


def unchanged(root: Path, read: Callable[[View], T]) -> T:
    """The result of `read` on one state of `root`: it is called again where a deployment changed the directory.

    Raises:
        ArtifactRefused: the directory cannot be read, or changes all the time.
    """
    for _ in range(_ATTEMPTS):
        before = _view(root)
        failure: CosybuildError | OSError | None = None
        try:
            result = read(before)
        except (CosybuildError, OSError) as error:
            failure = error
        if _view(root).token != before.token:
            continue
        if isinstance(failure, OSError):
            raise ArtifactRefused(f"{root} cannot be read: {failure}.") from failure
        if failure is not None:
            raise failure
        return result
    raise ArtifactRefused(
        f"{root} was changed by deployments {_ATTEMPTS} times while it was loaded.",
        hint="Next: load it again once they are done.",
    )


def candidates(view: View, device: torch.device) -> list[Path]:
    """Graphs, and on a GPU engines, in the order of their names.

    Raises:
        ArtifactRefused: the directory holds estimators of two builds.
    """
    files = {name: path for name, path in view.files().items() if path.suffix in (GRAPH_SUFFIX, *ENGINE_SUFFIXES)}
    hold_to_one_build(view.root, list(files.items()))
    return [path for path in files.values() if path.suffix == GRAPH_SUFFIX or device.type == "cuda"]


def hold_to_one_build(root: Path, files: list[tuple[str, Path]]) -> None:
    """Refuse estimators of several builds in one directory; engines count on a CPU too, so that machines agree.

    Raises:
        ArtifactRefused: names two files with their builds.
    """
    builds = other_builds((name, build) for name, path in files if (build := _build(name, path)) is not None)
    if len(builds) > 1:
        (one, first), (other, second), *_ = builds
        raise ArtifactRefused(
            f"{root} holds estimators of {len(builds)} builds: {one} comes from {first}, and {other} from {second}. "
            "A directory answers for one build.",
            hint=f"Next: deploy the build that is meant to {root} again, which retires the others; "
            f"or python -m cosybuild check {root}",
        )


def _build(name: str, path: Path) -> Build | None:
    try:
        manifest = read_manifest(path)
    except ValueError:
        return None  # it is refused by itself
    if manifest is None or (manifest.get("interface") and part_of(name, manifest) != ESTIMATOR):
        return None
    return build_of(manifest)


def _view(root: Path) -> View:
    try:
        return view_of(root)
    except ValueError as error:
        raise ArtifactRefused(f"{root} is refused: {error}.", hint=f"Next: python -m cosybuild check {root}") from error
