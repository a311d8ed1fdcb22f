from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from cosybuild.onnxgraph.check import InvalidGraph, check_model
from tests.onnxgraph.graphs import linear


def test_a_good_graph_passes_and_is_not_changed() -> None:
    model = linear()
    before = model.SerializeToString(deterministic=True)
    check_model(model)
    assert model.SerializeToString(deterministic=True) == before


def test_the_error_names_the_node_with_shapes_that_do_not_fit() -> None:
    with pytest.raises(InvalidGraph, match="ncompatible dimensions") as caught:
        check_model(linear(weight=np.zeros((5, 3), np.float32)))
    assert caught.value.node == "/block/MatMul"
    assert caught.value.detail == f" at node /block/MatMul (module block): {caught.value.reason}"


def test_the_shapes_of_large_weights_are_checked_too() -> None:
    with pytest.raises(InvalidGraph, match="ncompatible dimensions"):
        check_model(linear(weight=np.zeros((5000, 3), np.float32)))


def test_an_unknown_attribute_of_an_operator_is_refused() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="/block/MatMul", transA=1)
    with pytest.raises(InvalidGraph, match="transA"):
        check_model(linear([node]))


def test_a_value_that_no_node_makes_is_refused() -> None:
    with pytest.raises(InvalidGraph, match="nowhere") as caught:
        check_model(linear([helper.make_node("MatMul", ["x", "nowhere"], ["y"], name="/block/MatMul")]))
    assert caught.value.node == "/block/MatMul"


def test_a_declared_output_that_differs_from_the_computed_one_is_refused() -> None:
    model = linear()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7
    with pytest.raises(InvalidGraph, match="7"):
        check_model(model)


def test_a_frozen_output_is_refused_in_spite_of_its_declaration() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"], name="/MatMul"),
        helper.make_node("Reshape", ["z", "target"], ["y"], name="/Reshape"),
    ]
    model = linear(nodes)
    model.graph.initializer.append(numpy_helper.from_array(np.array([23, 3], np.int64), "target"))
    with pytest.raises(InvalidGraph, match="output y has axis 0 frozen at 23; the dynamic axis n is declared"):
        check_model(model)


def test_a_weight_with_truncated_bytes_is_refused() -> None:
    model = linear()
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-1]
    with pytest.raises(InvalidGraph, match=r"47 bytes.*need 48"):
        check_model(model)


def test_shape_inference_uses_small_constants() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"], name="/MatMul"),
        helper.make_node("Reshape", ["z", "target"], ["y"], name="/Reshape"),
    ]
    model = linear(nodes)
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, 6], np.int64), "target"))
    with pytest.raises(InvalidGraph, match="6"):
        check_model(model)
    model.graph.initializer[-1].CopyFrom(numpy_helper.from_array(np.array([-1, 3], np.int64), "target"))
    check_model(model)
    assert model.graph.initializer[-1].data_type == TensorProto.INT64
