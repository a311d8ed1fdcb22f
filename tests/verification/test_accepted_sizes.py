"""The axis at fault where a graph cannot compute a case, and the ranges that it can compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cosybuild.backends.onnxruntime_backend import load
from cosybuild.models.shape_profile import SizeRange
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.numerics.inputs import Draw
from cosybuild.verification.accepted_sizes import AcceptedSizes, accepted_sizes
from cosybuild.verification.cases import Case

SPEC = ModelSpec((TensorSpec("x", ("n", "t")),), (TensorSpec("y", ("n", "t")),))
RANGES = {"n": SizeRange(1, 2, 4), "t": SizeRange(16, 32, 64)}


def reshaping(shape: Sequence[int], place: Path) -> Path:
    """Write a graph that needs a size on one axis of x: all elements must fit the shape."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "t"]) for name in "xy"]
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["r"]),
        helper.make_node("Shape", ["x"], ["back"]),
        helper.make_node("Reshape", ["r", "back"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [numpy_helper.from_array(np.int64(shape), "shape")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, place / "graph.onnx")
    return place / "graph.onnx"


def found(shape: Sequence[int], place: Path, sizes: Mapping[str, int]) -> AcceptedSizes | None:
    return accepted_sizes(load(reshaping(shape, place)), Case("random size", Draw(dict(sizes))), SPEC, RANGES)


def test_a_graph_that_computes_no_size_of_the_profile_has_no_answer(tmp_path: Path) -> None:
    assert found([7, 11, -1], tmp_path, {"n": 2, "t": 17}) is None


@pytest.mark.parametrize(("unit", "size"), [(4, 19), (8, 33), (16, 56)])
def test_an_axis_that_takes_multiples_of_a_number_is_recognised(tmp_path: Path, unit: int, size: int) -> None:
    answer = found([unit, -1], tmp_path, {"n": 1, "t": size})
    assert answer is not None
    assert str(answer) == f"t=16 is computed, and multiples of {unit} seem to be, but t={size} is not"
    stated = f"t: {{min: 16, opt: 32, max: 64, multiple_of: {unit}}}"
    assert answer.setting == f"trt_profile.profiles=[{{n: {{min: 1, opt: 2, max: 4}}, {stated}}}]"


def test_a_fixed_batch_is_pinned(tmp_path: Path) -> None:
    """The state of a recurrent network, for instance, is a constant of batch 1."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "t"]) for name in "xy"]
    state = numpy_helper.from_array(np.zeros((1, 1, 2), np.float32), "state")
    weights = [
        numpy_helper.from_array(np.ones((1, 6, width), np.float32), name) for name, width in (("w", 1), ("r", 2))
    ]
    nodes = [
        helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0]),
        helper.make_node("Unsqueeze", ["xt", "last"], ["x3"]),
        helper.make_node("GRU", ["x3", "w", "r", "", "", "state"], ["h", ""], hidden_size=2),
        helper.make_node("ReduceMean", ["h"], ["mean"], axes=[1, 3], keepdims=0),
        helper.make_node("Transpose", ["mean"], ["y"], perm=[1, 0]),
    ]
    last = numpy_helper.from_array(np.int64([2]), "last")
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [state, *weights, last])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "gru.onnx")
    session = load(tmp_path / "gru.onnx")
    answer = accepted_sizes(session, Case("above profile min", Draw({"n": 2, "t": 17})), SPEC, RANGES)
    assert answer is not None
    assert str(answer) == "n=1 is computed, but n=2 is not"
    assert answer.setting == "trt_profile.profiles=[{n: {min: 1, opt: 1, max: 1}, t: {min: 16, opt: 32, max: 64}}]"
    session.infer({"x": np.zeros((1, 64), np.float32)})


def test_a_size_that_fails_only_together_with_another_is_not_blamed(tmp_path: Path) -> None:
    """x has n * t elements, and the graph needs at most 64 of them."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "t"]) for name in "xy"]
    nodes = [
        helper.make_node("Size", ["x"], ["count"]),
        helper.make_node("Sub", ["most", "count"], ["rest"]),
        helper.make_node("Unsqueeze", ["rest", "zero"], ["one"]),
        helper.make_node("ConstantOfShape", ["one"], ["filler"]),
        helper.make_node("ReduceSum", ["filler"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    most, zero = numpy_helper.from_array(np.int64(64), "most"), numpy_helper.from_array(np.int64([0]), "zero")
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [most, zero])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "most.onnx")
    assert accepted_sizes(load(tmp_path / "most.onnx"), Case("max", Draw({"n": 4, "t": 64})), SPEC, RANGES) is None
