"""Constants in the 16-bit type: the conversion, and the numbers of elements that overflow or underflow in it."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx_ir as ir

from cosybuild.precision.storage import FP16, Storage


@dataclass(frozen=True)
class ConstantFacts:
    """The number of elements of one constant that the 16-bit type cannot represent.

    Attributes:
        size: number of elements.
        max_abs: largest magnitude in float32.
        overflowing: number of elements whose magnitude exceeds the largest number of the 16-bit type.
        vanishing: number of non-zero elements that would be rounded to zero.
        subnormal: number of other elements below the smallest normal number; they would lose digits.
    """

    size: int
    max_abs: float
    overflowing: int
    vanishing: int
    subnormal: int


def examine(tensor: ir.TensorProtocol, storage: Storage) -> ConstantFacts:
    """Count the elements of a constant that `storage` cannot represent, or only with fewer digits."""
    magnitude = np.abs(tensor.numpy())
    if magnitude.size == 0:
        return ConstantFacts(0, 0.0, 0, 0, 0)
    largest = float(magnitude.max())
    # Half of the smallest number lies midway between it and zero, and is rounded to zero (ties to even).
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


def convert_constant(
    tensor: ir.TensorProtocol, storage: Storage, name: str, limit: float | None = None
) -> ir.TensorProtocol:
    """Convert a constant to the 16-bit type, rounding to nearest even.

    Args:
        tensor: a float32 constant.
        storage: the 16-bit type.
        name: the name of the new tensor.
        limit: magnitude to which the values are clipped before (for masks); None to clip nothing.
    """
    values = tensor.numpy()
    if limit is not None:
        values = np.clip(values, -limit, limit)
    with np.errstate(over="ignore", under="ignore"):
        lower = values.astype(np.float16 if storage is FP16 else ml_dtypes.bfloat16)
    return ir.Tensor(lower, dtype=ir.DataType[storage.name], name=name)
