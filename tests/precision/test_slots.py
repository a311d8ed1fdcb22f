"""Operators whose lower type exists in ONNX and not in every runtime."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from cosybuild.precision.slots import Slots, slots_of
from cosybuild.precision.storage import BF16, FP16, Storage


def mish() -> ir.Node:
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2]))
    node = ir.Node("", "Mish", [x])
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    return node


@pytest.mark.parametrize(
    ("storage", "expected"),
    [(FP16, Slots((True,), (True,))), (BF16, "TensorRT's parser does not take Mish in BFLOAT16")],
)
def test_mish_is_lowered_where_tensorrt_takes_it(storage: Storage, expected: Slots | str) -> None:
    assert slots_of(mish(), storage, 18) == expected
