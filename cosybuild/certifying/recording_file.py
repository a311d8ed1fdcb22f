"""The file of a recorded run: its arrays, with limits on their size."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from cosybuild.numerics.inputs import Array

LARGEST = 1 << 30
"""The most bytes of all arrays of a recording together."""

_NEEDED = {"token": 2, "prompt_token": 2, "prompt_feat": 3, "embedding": 2, "mel": 3}
_FURTHER = {"z": 3, "lookahead_token": 2, "waveform": 2, "noise": 3, "phase": 2}
_WHOLE = ("token", "prompt_token", "lookahead_token")


def read_recording(path: Path) -> dict[str, Array]:
    """Return the arrays by name.

    Raises:
        ValueError: an array is missing or has another shape or type, or the arrays are too large.
        OSError, zipfile.BadZipFile: the file is not .npz.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > LARGEST:
        raise ValueError(f"its arrays have {size} bytes; at most {LARGEST} are read")
    arrays = {}
    with np.load(path, allow_pickle=False) as stored:
        for name, axes in {**_NEEDED, **_FURTHER}.items():
            if name not in stored.files:
                if name in _NEEDED:
                    raise ValueError(f"it has no array {name}; {', '.join(_NEEDED)} are expected")
                continue
            values = stored[name]
            if name == "phase" and values.ndim == 3:
                values = values[:, :, 0]
            kind = "iu" if name in _WHOLE else "f"
            if values.ndim != axes or values.dtype.kind not in kind or values.shape[0] != 1:
                raise ValueError(f"{name} has shape {values.shape} and type {values.dtype}; 1 row and {axes} axes of "
                                 f"{'whole numbers' if kind == 'iu' else 'floats'} are expected")  # fmt: skip
            arrays[name] = values.astype(np.int64 if name in _WHOLE else np.float32)
    return arrays
