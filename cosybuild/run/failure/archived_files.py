"""The files of a failure archive that the reproduction reads; they are checked before they are used."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cosybuild.digest import digest_of
from cosybuild.onnxgraph.external import external_fault
from cosybuild.run.failure.archive import FORM
from cosybuild.run.failure.index import FailureIndex
from cosybuild.store.artifact import Artifact, StoredFile

if TYPE_CHECKING:
    from cosybuild.numerics.inputs import Array


def find_artifacts(place: Path, index: FailureIndex, elsewhere: Path | None) -> tuple[dict[str, Artifact], list[str]]:
    """Return slot -> artifact for the files that were found, and the names of the files that were not.

    Args:
        place: the directory with the unpacked archive.
        index: the index of the archive.
        elsewhere: a directory to search for files that the archive names by digest only; None for none.
    """
    found: dict[str, Artifact] = {}
    lacking = []
    for slot, listed in index.artifacts.items():
        files = []
        for file in listed:
            path = place / "artifacts" / slot / file.name if file.carried else _find(elsewhere, file.sha256, file.size)
            if path is None:
                lacking.append(f"{file.name} ({file.sha256[:16]})")
            else:
                files.append(StoredFile(file.name, path, file.sha256, file.size))
        if files:
            found[slot] = Artifact(slot, tuple(files))
    return found, lacking


def _find(directory: Path | None, digest: str, size: int) -> Path | None:
    """Return the file with this content below `directory`, under any name; None if there is none."""
    for path in sorted(directory.rglob("*")) if directory is not None else ():
        if path.is_file() and path.stat().st_size == size and digest_of(path) == digest:
            return path
    return None


@contextmanager
def in_one_directory(artifacts: Mapping[str, Artifact], archive: Path) -> Iterator[dict[str, Artifact]]:
    """Yield the artifacts with all files of each artifact in one directory.

    ONNX Runtime looks for the external data of a graph by name, in the directory of the graph.

    Args:
        artifacts: slot -> artifact.
        archive: the failure archive, for the errors.

    Raises:
        ConfigurationError: a graph names other weight files, or an .npz file is not valid.
    """
    with tempfile.TemporaryDirectory(prefix="cosybuild-replay-") as temporary:
        inputs = {}
        for number, (slot, artifact) in enumerate(artifacts.items()):
            home = Path(temporary) / str(number)
            home.mkdir()
            files = []
            for file in artifact.files:
                _place(file.path, home / file.name)
                if file.name.endswith(".npz"):
                    read_arrays(home / file.name, archive)
                files.append(StoredFile(file.name, home / file.name, file.digest, file.size))
            refuse_foreign_weights(files[0].path, {file.name for file in files[1:]}, archive)
            inputs[slot] = Artifact(slot, tuple(files))
        yield inputs


def _place(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(file, target)


def refuse_foreign_weights(graph: Path, beside: set[str], archive: Path) -> None:
    """Raise an error if a graph names weight files that do not belong to the same artifact.

    Args:
        graph: the main file of the artifact; a file that is not .onnx is accepted.
        beside: the names of the artifact's other files.
        archive: the failure archive, for the error.

    Raises:
        ConfigurationError: the graph names other files, or the file is not an ONNX graph.
    """
    if not graph.name.endswith(".onnx"):
        return
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf has no type stubs here

    from cosybuild.onnxgraph.files import load_structure

    try:
        if (fault := external_fault(graph, beside)) is not None:
            raise FORM.refused(archive, f"{graph.name} {fault}")
        load_structure(graph)
    except (ValueError, DecodeError) as error:
        raise FORM.refused(archive, f"{graph.name} is not an ONNX graph: {error}") from error


def read_arrays(path: Path, archive: Path) -> dict[str, Array]:
    """Return the arrays of an .npz file of a failure archive: name -> array.

    Args:
        path: the .npz file.
        archive: the failure archive, for the error.

    Raises:
        ConfigurationError: the file is not an .npz file of arrays.
    """
    import zipfile

    import numpy as np

    from cosybuild.numerics.npz import with_bfloat16

    try:
        with np.load(path, allow_pickle=False) as loaded:
            return {name: with_bfloat16(loaded[name]) for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FORM.refused(archive, f"{path.name} is not an .npz file of arrays: {error}") from error
