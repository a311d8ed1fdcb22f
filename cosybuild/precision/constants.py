"""Constants in the lower type: which overflow, which vanish, and their conversion."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx_ir as ir

from cosybuild.precision.storage import FP16, Storage


@dataclass(frozen=True)
class ConstantFacts:
    """One constant as it would be stored.

    Attributes:
        size: number of elements.
        max_abs: largest magnitude in float32.
        overflowing: elements whose magnitude exceeds the type's largest number.
        vanishing: elements that are not zero and would be.
        subnormal: further elements that would lose digits, being below the smallest normal number.
    """

    size: int
    max_abs: float
    overflowing: int
    vanishing: int
    subnormal: int


def examine(tensor: ir.TensorProtocol, storage: Storage) -> ConstantFacts:
    """Count what `storage` cannot hold."""
    magnitude = np.abs(tensor.numpy())
    if magnitude.size == 0:
        return ConstantFacts(0, 0.0, 0, 0, 0)
    largest = float(magnitude.max())
    # Half the smallest number is the tie that rounds to zero.
    small = magnitude < storage.smallest_normal
    few = magnitude[small]
    vanishing = int(np.count_nonzero((few > 0) & (few <= storage.smallest / 2)))
    return ConstantFacts(
        size=int(magnitude.size),
        max_abs=largest,
        overflowing=int(np.count_nonzero(magnitude > storage.max)) if largest > storage.max else 0,
        vanishing=vanishing,
        subnormal=int(np.count_nonzero(few)) - vanishing,
    )


def converted(tensor: ir.TensorProtocol, storage: Storage, name: str, limit: float | None = None) -> ir.TensorProtocol:
    """The tensor in the lower type, rounded to nearest even.

    Args:
        limit: clip to this magnitude first (masks).
    """
    values = tensor.numpy()
    if limit is not None:
        values = np.clip(values, -limit, limit)
    with np.errstate(over="ignore", under="ignore"):
        lower = values.astype(np.float16 if storage is FP16 else ml_dtypes.bfloat16)
    return ir.Tensor(lower, dtype=ir.DataType[storage.name], name=name)
