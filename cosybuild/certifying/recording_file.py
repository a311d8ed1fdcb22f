"""The file of a recorded run: its arrays, with limits on their size."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cosybuild.numerics.inputs import Array

LARGEST = 1 << 30
"""The most bytes of all arrays of a recording together."""

_NEEDED = {"token": 2, "prompt_token": 2, "prompt_feat": 3, "embedding": 2, "mel": 3}
_FURTHER = {"z": 3, "lookahead_token": 2, "waveform": 2, "noise": 3, "phase": 2}
_WHOLE = ("token", "prompt_token", "lookahead_token")
_RESULTS = ("mel", "waveform")
"""These are compared, and one that is not finite is wrong. All other arrays are inputs."""
_DAMAGES = (EOFError, MemoryError, NotImplementedError, RuntimeError, SyntaxError, tokenize.TokenError, zlib.error)
"""Errors of `zipfile` and numpy for encrypted, truncated or otherwise unreadable members."""


def read_recording(path: Path) -> dict[str, Array]:
    """Return the arrays by name.

    Raises:
        ValueError: an array is missing, cannot be read, or has another shape or type; an input is not finite; there is
            nothing to compare; or the arrays are too large.
        OSError, zipfile.BadZipFile: the file is not .npz.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > LARGEST:
        raise ValueError(f"its arrays have {size} bytes; at most {LARGEST} are read")
    with np.load(path, allow_pickle=False) as stored:
        return {
            name: _checked(name, axes, _member(stored, name))
            for name, axes in {**_NEEDED, **_FURTHER}.items()
            if name in stored.files or name in _NEEDED
        }


def _member(stored: Mapping[str, Any], name: str) -> Any:
    if name not in stored:
        raise ValueError(f"it has no array {name}; {', '.join(_NEEDED)} are expected")
    try:
        return stored[name]
    except _DAMAGES as error:
        raise ValueError(f"its array {name} cannot be read: {' '.join(str(error).split())[:200]}") from error


def _checked(name: str, axes: int, values: Any) -> Array:
    """Return an array in the type of its kind."""
    if not isinstance(values, np.ndarray):
        raise ValueError(f"{name} is not an array")
    if name == "phase" and values.ndim == 3:
        values = values[:, :, 0]
    kind = "iu" if name in _WHOLE else "f"
    if values.ndim != axes or values.dtype.kind not in kind or values.shape[0] != 1:
        raise ValueError(f"{name} has shape {values.shape} and type {values.dtype}; 1 row and {axes} axes of "
                         f"{'whole numbers' if kind == 'iu' else 'floats'} are expected")  # fmt: skip
    if name in (*_RESULTS, "token") and not values.size:
        raise ValueError(f"{name} has shape {values.shape}, so there is nothing to compare")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which is refused
        found: Array = values.astype(np.int64 if name in _WHOLE else np.float32)
    # Outputs of inputs that are not finite are not finite either, and no comparison with them shows anything.
    if name not in _RESULTS and not np.isfinite(found).all():
        index = [int(i) for i in np.argwhere(~np.isfinite(found))[0]]
        raise ValueError(
            f"{name}{index} is {values[tuple(index)]}; the inputs of a recording are finite numbers of float32"
        )
    return found
