"""A writer of .npz files for arrays of any name; `numpy.savez` cannot store arrays named `file` or `allow_pickle`."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cosybuild.numerics.inputs import Array


def save_arrays(path: Path, arrays: Mapping[str, Array]) -> Path:
    """Write an uncompressed .npz file; equal arrays give equal bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(values), allow_pickle=False)
    return path
