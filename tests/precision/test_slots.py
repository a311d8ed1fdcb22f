"""Operators whose lower type exists in ONNX but not in every runtime."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from cosybuild.precision.slots import Slots, slots_of
from cosybuild.precision.storage import BF16, FP16


def node_of(kind: str) -> ir.Node:
    shapes = {"Mish": [[2]], "ConvTranspose": [[1, 2, 5], [2, 2, 4]]}[kind]
    values = [
        ir.Value(name=f"x{index}", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))
        for index, shape in enumerate(shapes)
    ]
    node = ir.Node("", kind, values)
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    return node


@pytest.mark.parametrize("kind", ["Mish", "ConvTranspose"])
def test_operators_that_tensorrt_does_not_accept_stay_in_fp32(kind: str) -> None:
    node = node_of(kind)
    assert slots_of(node, FP16, 18) == Slots((True,) * len(node.inputs), (True,))
    assert slots_of(node, BF16, 18) == f"TensorRT does not accept {kind} in BFLOAT16"
