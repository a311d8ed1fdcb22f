"""Find a model directory, given as a path on this machine or as the id of a model on a hub."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cosybuild.errors import ModelDirectoryError
from cosybuild.models.directory.hub import fetch_model, is_hub_id


@contextmanager
def convert_permission_errors() -> Iterator[None]:
    """Convert a PermissionError in the `with` block to an error that names the unreadable file or directory.

    Raises:
        ModelDirectoryError: in place of the PermissionError.
    """
    try:
        yield
    except PermissionError as error:
        raise ModelDirectoryError(
            f"{error.filename} cannot be read: permission denied.",
            hint=f"Next: have its owner run `chmod -R a+rX {error.filename}`, then run the same command again.",
        ) from error


def locate(model_dir: str, files: Sequence[str]) -> Path:
    """Return the path of the model directory. If `model_dir` is a hub id, the model is downloaded first.

    Args:
        model_dir: a directory or a hub id.
        files: the names of the files to download from a hub besides the yaml.

    Raises:
        ModelDirectoryError: there is no such directory, or the download failed.
        MissingRequirement: `model_dir` is a hub id, and no hub client is installed.
    """
    try:
        path = Path(model_dir).expanduser()
        if path.is_dir():
            return path
    except (OSError, RuntimeError) as error:  # a name that is too long, or an unknown user behind ~
        raise ModelDirectoryError(
            f"model_dir={model_dir[:100]} cannot be a path: {getattr(error, 'strerror', None) or error}.",
            hint="Next: give the directory that has the model's yaml and flow.pt.",
        ) from error
    if path.exists():
        raise ModelDirectoryError(
            f"model_dir={model_dir} is a file; the directory that has the model's yaml and flow.pt is expected.",
            hint=f"Next: model_dir={path.parent}.",
        )
    if is_hub_id(model_dir):
        return fetch_model(model_dir, files)
    near = similar_directories(path)
    raise ModelDirectoryError(
        f"model_dir={model_dir} does not exist.",
        hint=f"Next: did you mean {' or '.join(str(one) for one in near)}?"
        if near
        else "Next: give the directory that has the model's yaml and flow.pt.",
    )


def similar_directories(path: Path) -> list[Path]:
    """Return up to three existing directories next to a missing path, with names similar to its name."""
    parent = path.parent
    names = sorted(entry.name for entry in parent.iterdir() if entry.is_dir()) if parent.is_dir() else []
    return [parent / name for name in difflib.get_close_matches(path.name, names, n=3)]
