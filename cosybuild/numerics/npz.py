"""Writing and reading of .npz files with arrays of any name and with bfloat16, which numpy's functions do not support.

`numpy.savez` cannot store arrays named `file` or `allow_pickle`, and numpy's format has no name for bfloat16.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cosybuild.numerics.inputs import Array, numpy_dtype


def save_arrays(path: Path, arrays: Mapping[str, Array]) -> Path:
    """Write arrays to an uncompressed .npz file and return its path. Equal arrays give equal bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(values), allow_pickle=False)
    return path


def with_bfloat16(array: Array) -> Array:
    """Return an array that was read from an .npz file with its saved type.

    numpy reads bfloat16 as two untyped bytes.
    """
    return array.view(numpy_dtype("bfloat16")) if array.dtype == np.dtype("V2") else array
