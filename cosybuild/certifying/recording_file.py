"""Read the .npz file of a recorded run, and check the names, shapes, types and sizes of its arrays."""

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
"""The largest permitted total size of the arrays of a recording, in bytes."""

_NEEDED = {"token": 2, "prompt_token": 2, "prompt_feat": 3, "embedding": 2, "mel": 3}
_FURTHER = {"z": 3, "lookahead_token": 2, "waveform": 2, "noise": 3, "phase": 2}
_WHOLE = ("token", "prompt_token", "lookahead_token")
_RESULTS = ("mel", "waveform")
"""The results of a run, which are compared; they may be infinite or NaN. All other arrays are inputs."""
_DAMAGES = (EOFError, MemoryError, NotImplementedError, RuntimeError, SyntaxError, tokenize.TokenError, zlib.error)
"""Errors of `zipfile` and numpy for encrypted, truncated or otherwise unreadable members."""


def read_recording(path: Path) -> dict[str, Array]:
    """Return the arrays of a recording by name: floating-point ones as float32, integers as int64.

    Raises:
        ValueError: an array is missing or cannot be read, has a wrong shape or type, or is empty; an input is not
            finite; or the arrays are too large.
        OSError, zipfile.BadZipFile: the file is not an .npz file.
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
    """Check an array and return it as float32, or as int64 if it has token ids.

    Args:
        name: the name of the array.
        axes: the expected number of axes; the first one must have the size 1.
        values: the content of the file under this name.

    Raises:
        ValueError: the array is not valid.
    """
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
    with np.errstate(over="ignore"):  # a float64 beyond the range of float32 becomes infinite, which is refused below
        found: Array = values.astype(np.int64 if name in _WHOLE else np.float32)
    # From inputs that are not finite, every network computes results that are not finite, so nothing can be compared.
    if name not in _RESULTS and not np.isfinite(found).all():
        index = [int(i) for i in np.argwhere(~np.isfinite(found))[0]]
        raise ValueError(
            f"{name}{index} is {values[tuple(index)]}; the inputs of a recording are finite numbers of float32"
        )
    return found
