"""Batches of real inputs that a user gives: reading them from files, and writing those that the user's code yields."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cosybuild.errors import ConfigurationError
from cosybuild.models.real_inputs import UNREADABLE, GivenBatch
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.numerics.inputs import Array, numpy_dtype
from cosybuild.numerics.npz import save_arrays, with_bfloat16

MOST = 64
"""Largest number of batches that are taken from the user's code, which may yield without end."""


def read_batch(batch: GivenBatch, spec: ModelSpec) -> dict[str, Array]:
    """Read one batch: one array for each input by name, with the order and the types of the specification.

    Raises:
        ConfigurationError: the file changed after planning, or a type cannot be converted without loss.
    """
    try:
        content = batch.path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{batch.path} of verify.inputs cannot be read any more: {error}", hint="Next: run the same command again."
        ) from error
    if hashlib.sha256(content).hexdigest() != batch.digest:
        raise ConfigurationError(
            f"{batch.path} of verify.inputs changed while the build ran.", hint="Next: run the same command again."
        )
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {tensor.name: with_bfloat16(stored[tensor.name]) for tensor in spec.inputs}
    except UNREADABLE as error:
        raise ConfigurationError(
            f"{batch.path} of verify.inputs cannot be read: {str(error) or type(error).__name__}",
            hint="Next: save the arrays with numpy.savez, without allow_pickle.",
        ) from error
    return {tensor.name: _typed(batch, tensor, arrays[tensor.name]) for tensor in spec.inputs}


def _typed(batch: GivenBatch, tensor: TensorSpec, values: Array) -> Array:
    wanted = numpy_dtype(tensor.dtype)
    floats = ("float16", "bfloat16", "float32", "float64")
    if values.dtype != wanted and not (values.dtype.name in floats and wanted.name in floats):
        is_number = values.dtype.kind in "biuf" and values.dtype.name not in floats
        with np.errstate(invalid="ignore"):
            converted = values.astype(wanted) if is_number else None
        if converted is None or wanted.name in floats or not np.array_equal(converted, values):
            raise ConfigurationError(
                f"{tensor.name} in {batch.path} (verify.inputs) has the type {values.dtype.name}; the model takes "
                f"{tensor.dtype}.",
                hint=f"Next: convert it with .astype('{tensor.dtype}') before it is saved.",
            )
    # np.ascontiguousarray is not used, because it turns a scalar into an array of one axis.
    return np.asarray(values, wanted, order="C")


def write_batches(batches: Iterable[Any], names: Sequence[str], place: Path) -> int:
    """Write each batch as an .npz file, and return the number of batches; at most `MOST` are taken.

    Args:
        batches: each a mapping from the names of inputs to arrays or tensors, or a sequence of arrays in binding order.
        names: the inputs in binding order.
        place: the directory to write to.

    Raises:
        ConfigurationError: a batch has another number of arrays, or there is no batch.
    """
    count = 0
    for index, batch in enumerate(itertools.islice(iter(batches), MOST)):
        if not isinstance(batch, Mapping):
            parts = list(batch) if isinstance(batch, (tuple, list)) else [batch]
            if len(parts) != len(names):
                raise ConfigurationError(
                    f"verify.inputs yields {len(parts)} arrays in batch {index}; the model takes {', '.join(names)}.",
                    hint="Next: yield a mapping from the names of the inputs to arrays.",
                )
            batch = dict(zip(names, parts, strict=True))
        save_arrays(place / f"batch{index:04}.npz", {str(name): _array(value) for name, value in batch.items()})
        count = index + 1
    if not count:
        raise ConfigurationError("verify.inputs yields no batch.", hint="Next: yield at least one.")
    return count


def _array(value: Any) -> Array:
    if hasattr(value, "detach"):  # a torch tensor; torch is not imported here
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
        value = value.numpy()
    return np.asarray(value)
