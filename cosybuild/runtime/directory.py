"""Consistent reads of a directory in service, also while a deployment changes the directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cosybuild.directory_in_service import STATE, View, view_of
from cosybuild.errors import ArtifactRefused, CosybuildError
from cosybuild.identity import ESTIMATOR, Build, build_of, distinct_builds, part_of
from cosybuild.manifest import manifest_path, read_manifest
from cosybuild.runtime.admission import ENGINE_SUFFIXES, GRAPH_SUFFIX, IR_SUFFIX, Device

_ATTEMPTS = 5

T = TypeVar("T")


def read_consistently(root: Path, read: Callable[[View], T]) -> T:
    """Call `read` on a view of a directory and return its result, for one consistent state of the directory.

    If a deployment changed the directory during the call, the result is dropped and `read` is called again.

    Args:
        root: the directory in service.
        read: the function to call. It gets the view, which shows the files of the directory.

    Raises:
        ArtifactRefused: the directory cannot be read, or a deployment changed it during each of the attempts.
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
        hint="Next: load it again after the deployments.",
    )


def directory_in_service(path: Path) -> Path | None:
    """Return the nearest parent directory of `path` that holds the records of deployments; None if there is none."""
    return next((parent for parent in path.absolute().parents if (parent / STATE).is_dir()), None)


def read_in_service(path: Path, read: Callable[[Path], T]) -> T:
    """Call `read` on one file and return the result.

    If the file is in a directory in service, `read` gets the path that holds the file's content in one consistent state
    of the directory. Once a running deployment has written its journal, this is the content that the deployment
    installs.

    Raises:
        ArtifactRefused: a deployment has retired the file, or changed the directory during each of the attempts.
    """
    root = directory_in_service(path)
    if root is None:
        return read(path)
    name = path.absolute().relative_to(root).as_posix()
    return read_consistently(root, lambda view: read(_present(view, name)))


def _present(view: View, name: str) -> Path:
    path = view.path_of(name)
    if path is None and view.journal is not None and name in view.journal.removes:
        raise ArtifactRefused(
            f"{view.root / name} is refused: a deployment has retired it.",
            hint=f"Next: python -m cosybuild check {view.root}",
        )
    return path or view.root / name


def candidates(view: View, device: Device) -> list[Path]:
    """Return the files of a directory that can be loaded on `device`, in the order of their names.

    They are the ONNX graphs, plus the OpenVINO IRs on the CPU, or plus the engines on a GPU. An .xml file without a
    manifest is ignored, because cosybuild did not build it.

    Raises:
        ArtifactRefused: the directory holds estimators of two builds.
    """
    known = (GRAPH_SUFFIX, IR_SUFFIX, *ENGINE_SUFFIXES)
    found = {name: path for name, path in view.files().items() if path.suffix in known}
    files = {name: path for name, path in found.items() if path.suffix != IR_SUFFIX or manifest_path(path).exists()}
    check_one_build(view.root, list(files.items()))
    fitting = (GRAPH_SUFFIX, *(ENGINE_SUFFIXES if device.type == "cuda" else (IR_SUFFIX,)))
    return [path for path in files.values() if path.suffix in fitting]


def check_one_build(root: Path, files: list[tuple[str, Path]]) -> None:
    """Check that all estimators in a directory come from one build.

    `files` holds names in the directory and the paths of their contents. A CPU loads no engine, but engines are checked
    there too, so that a directory is accepted or refused on all machines alike.

    Raises:
        ArtifactRefused: the estimators come from several builds; the message names two files with their builds.
    """
    builds = distinct_builds((name, build) for name, path in files if (build := _build(name, path)) is not None)
    if len(builds) > 1:
        (one, first), (other, second), *_ = builds
        raise ArtifactRefused(
            f"{root} holds estimators of {len(builds)} builds: {one} comes from {first}, and {other} from {second}. "
            "A directory can serve one build only.",
            hint=f"Next: deploy the correct build to {root} again, which retires the others; or python -m cosybuild "
            f"check {root}",
        )


def _build(name: str, path: Path) -> Build | None:
    try:
        manifest = read_manifest(path)
    except ValueError:
        return None  # `admit` refuses this file with the reason
    if manifest is None or (manifest.get("interface") and part_of(name, manifest) != ESTIMATOR):
        return None
    return build_of(manifest)


def _view(root: Path) -> View:
    try:
        return view_of(root)
    except ValueError as error:
        raise ArtifactRefused(f"{root} is refused: {error}.", hint=f"Next: python -m cosybuild check {root}") from error
