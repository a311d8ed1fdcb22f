"""The arrays of real inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cosybuild.errors import ConfigurationError
from cosybuild.models.real_inputs import given_batches
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.numerics.real_inputs import MOST, read_batch, write_batches

SPEC = ModelSpec((TensorSpec("x", ("n",)), TensorSpec("ids", ("n",), "int32")), ())


def test_batches_are_read_in_the_types_of_the_model(tmp_path: Path) -> None:
    batches = ((np.arange(3) / 4, np.arange(3)) for _ in range(2))
    assert write_batches(batches, ["x", "ids"], tmp_path) == 2
    (first, _) = given_batches(sorted(tmp_path.iterdir()), SPEC)
    arrays = read_batch(first, SPEC)
    assert {name: values.dtype.name for name, values in arrays.items()} == {"x": "float32", "ids": "int32"}
    assert arrays["x"].tolist() == [0, 0.25, 0.5]


@pytest.mark.parametrize("ids", [np.array([0.5]), np.array([2**40])])
def test_a_type_that_loses_values_is_refused(tmp_path: Path, ids: np.ndarray) -> None:
    write_batches([{"x": np.zeros(1), "ids": ids}], ["x", "ids"], tmp_path)
    (batch,) = given_batches(sorted(tmp_path.iterdir()), SPEC)
    with pytest.raises(ConfigurationError, match=r"ids in .* the model takes int32"):
        read_batch(batch, SPEC)


def test_a_file_that_changes_after_planning_is_not_used(tmp_path: Path) -> None:
    write_batches([{"x": np.zeros(1), "ids": np.zeros(1, int)}], ["x", "ids"], tmp_path)
    (batch,) = given_batches(sorted(tmp_path.iterdir()), SPEC)
    write_batches([{"x": np.ones(1), "ids": np.zeros(1, int)}], ["x", "ids"], tmp_path)
    with pytest.raises(ConfigurationError, match="changed while the build ran"):
        read_batch(batch, SPEC)


def test_code_that_yields_without_end_is_stopped(tmp_path: Path) -> None:
    def forever() -> object:
        while True:
            yield {"x": np.zeros(1), "ids": np.zeros(1, int)}

    assert write_batches(forever(), ["x", "ids"], tmp_path) == MOST  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="yields no batch"):
        write_batches([], ["x", "ids"], tmp_path)
