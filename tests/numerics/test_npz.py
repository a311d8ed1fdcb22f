"""Arrays that numpy's own functions cannot save or read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cosybuild.numerics.inputs import numpy_dtype
from cosybuild.numerics.npz import save_arrays, with_bfloat16


def test_bfloat16_is_read_as_it_was_saved(tmp_path: Path) -> None:
    values = np.array([1.5, -3.0, np.inf], numpy_dtype("bfloat16"))
    with np.load(save_arrays(tmp_path / "x.npz", {"x": values, "file": np.arange(2)})) as stored:
        found = with_bfloat16(stored["x"])
        assert with_bfloat16(stored["file"]).dtype == np.int64
    assert found.dtype == values.dtype
    assert found.tobytes() == values.tobytes()
