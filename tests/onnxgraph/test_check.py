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


def test_a_format_that_lists_weights_as_inputs_needs_no_list() -> None:
    """Runtimes load graphs of version 3 whose initializers are not among the inputs."""
    model = linear()
    model.ir_version = 3
    check_model(model)


def test_a_sum_of_lengths_is_no_contradiction() -> None:
    """ONNX adds propagated values by position, which refuses vectors of different lengths."""
    nodes = [
        helper.make_node("Unsqueeze", ["column", "last"], ["upright"]),
        helper.make_node("Add", ["upright", "row"], ["grid"]),
        helper.make_node("Gather", ["x", "grid"], ["y"]),
    ]
    constants = {"column": np.arange(3), "last": np.array([-1]), "row": np.arange(5)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 5])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    check_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def test_an_output_axis_with_a_name_of_its_own_may_have_one_size() -> None:
    """Converters name every axis of an output, also one whose size is known."""
    model = linear()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "channels_of_the_output"
    check_model(model)
