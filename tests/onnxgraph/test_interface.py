from __future__ import annotations

from dataclasses import replace

import pytest
from onnx import ModelProto

from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.onnxgraph.interface import declare_interface, interface_faults
from cosybuild.onnxgraph.summary import count_ops, default_opset, op_difference
from tests.onnxgraph.graphs import SPEC, linear


def frozen(model: ModelProto, side: str) -> ModelProto:
    value = getattr(model.graph, side)[0]
    value.type.tensor_type.shape.dim[0].dim_value = 23
    return model


def declared(**fields: object) -> ModelSpec:
    return ModelSpec((replace(SPEC.inputs[0], **fields),), SPEC.outputs)  # type: ignore[arg-type]  # its own fields


def test_a_graph_with_the_declared_interface_has_no_faults() -> None:
    assert interface_faults(linear(), SPEC) == ()


@pytest.mark.parametrize(
    ("model", "spec", "fault"),
    [
        (linear(), declared(name="z"), "inputs are x; z are declared"),
        (linear(), declared(dtype="float16"), "input x is FLOAT; float16 is declared"),
        (linear(), declared(shape=("n", 4, 1)), "input x has 2 axes; 3 are declared"),
        (linear(), declared(shape=("n", 5)), "input x has 4 on axis 1; 5 is declared"),
        (linear(), declared(shape=(2, 4)), "input x has axis 0 dynamic; 2 is declared"),
        (frozen(linear(), "input"), SPEC, "input x has axis 0 frozen at 23; the dynamic axis n is declared"),
        (frozen(linear(), "output"), SPEC, "output y has axis 0 frozen at 23; the dynamic axis n is declared"),
        (linear(), ModelSpec(SPEC.inputs, (*SPEC.outputs, TensorSpec("z", (1,)))), "outputs are y; y, z are declared"),
    ],
)
def test_every_difference_is_reported(model: ModelProto, spec: ModelSpec, fault: str) -> None:
    assert interface_faults(model, spec) == (fault,)


def test_the_declaration_names_the_axes() -> None:
    model = linear()
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "MatMuly_dim_0"
    declare_interface(model, SPEC)
    assert [dim.dim_param for dim in model.graph.output[0].type.tensor_type.shape.dim] == ["n", ""]
    assert model.graph.output[0].type.tensor_type.shape.dim[1].dim_value == 3


def test_operators_are_counted_and_compared() -> None:
    assert count_ops(linear()) == {"MatMul": 1}
    assert default_opset(linear()) == 18
    assert op_difference({"Add": 3, "Mul": 1}, {"Add": 1, "Mul": 1, "Gemm": 2}) == {"Add": -2, "Gemm": 2}
