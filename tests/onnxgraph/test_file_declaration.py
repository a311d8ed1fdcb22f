"""Inputs and outputs of ONNX files that nobody declared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cosybuild.config.groups.model import Family, ModelSettings, TensorSettings
from cosybuild.dtypes import FROM_ONNX
from cosybuild.errors import ModelError
from cosybuild.models.spec import ModelSpec
from cosybuild.onnxgraph.file_declaration import describe_test_values, spec_of_graph

Port = tuple[str, int, list[Any] | None]


def spec(
    path: Path,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    nodes: Sequence[onnx.NodeProto] = (),
    tables: dict[str, int] | None = None,
    mine: tuple[TensorSettings, ...] = (),
) -> ModelSpec:
    weights = [numpy_helper.from_array(np.zeros((rows, 2), np.float32), name) for name, rows in (tables or {}).items()]
    sides = [[helper.make_tensor_value_info(*port) for port in side] for side in (inputs, outputs)]
    onnx.save(helper.make_model(helper.make_graph(list(nodes), "g", *sides, weights)), path / "m.onnx")
    return spec_of_graph(path / "m.onnx", ModelSettings(family=Family.onnx, path=str(path), inputs=mine))


def test_names_types_and_shapes_are_those_of_the_file(tmp_path: Path) -> None:
    found = spec(
        tmp_path,
        [("1", TensorProto.FLOAT, [None, 3, None, None]), ("s", TensorProto.DOUBLE, [])],
        [("sigmoid_0.tmp_0", TensorProto.FLOAT, ["unk__1", 3, None, 7]), ("Identity:0", TensorProto.BOOL, None)],
    )
    assert [(t.name, t.shape, t.dtype) for t in found.inputs] == [
        ("1", ("batch", 3, "axis2", "axis3"), "float32"),
        ("s", (), "float64"),
    ]
    assert [(t.name, t.shape, t.dtype) for t in found.outputs] == [
        ("sigmoid_0.tmp_0", ("unk__1", 3, "output_axis2", 7), "float32"),
        ("Identity:0", (), "bool"),
    ]
    assert found.symbols == ("batch", "axis2", "axis3")


def test_the_state_of_a_recurrent_layer_has_the_batch_of_another_input(tmp_path: Path) -> None:
    sound, state = ("x", TensorProto.FLOAT, [None, 64]), ("h", TensorProto.FLOAT, [2, None, 128])
    found = spec(tmp_path, [sound, state], [("y", TensorProto.FLOAT, None)])
    assert [tensor.shape for tensor in found.inputs] == [("batch", 64), (2, "batch", 128)]


def test_a_sequence_of_features_without_a_batch_is_no_state(tmp_path: Path) -> None:
    found = spec(tmp_path, [("x", TensorProto.FLOAT, [1, None, 80])], [("y", TensorProto.FLOAT, None)])
    assert [tensor.shape for tensor in found.inputs] == [(1, "axis1", 80)]


@pytest.mark.parametrize("kind", sorted(FROM_ONNX))
def test_every_numeric_type_has_values_without_declaration(tmp_path: Path, kind: int) -> None:
    found = spec(tmp_path, [("x", kind, [2])], [("y", kind, [2])])
    assert found.inputs[0].dtype == FROM_ONNX[kind]
    assert found.inputs[0].generator in ("normal", "integer", "mask")


def test_symbols_become_names_and_sums_follow_from_other_axes(tmp_path: Path) -> None:
    found = spec(
        tmp_path,
        [("k", 1, ["N batch", "past_len"]), ("m", 1, ["N batch", "past_len + 1"]), ("n", 1, ["N-batch", "3d"])],
        [("y", 1, ["N batch"])],
    )
    assert found.symbols == ("N_batch", "past_len", "N_batch_1", "axis_3d")
    assert found.inputs[1].resolve({"N_batch": 2, "past_len": 0}) == (2, 1)
    assert found.axis("past_len").least == 0
    assert found.outputs[0].shape == ("N_batch",)


def test_ids_are_bounded_by_the_smallest_table_that_they_index(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["ids"], ["i"], to=TensorProto.INT32),
        helper.make_node("Unsqueeze", ["i", "axes"], ["i2"]),
        helper.make_node("Gather", ["large", "i2"], ["a"]),
        helper.make_node("Identity", ["small"], ["same"]),
        helper.make_node("Gather", ["same", "i"], ["b"]),
        helper.make_node("Gather", ["large", "columns"], ["c"], axis=1),
    ]
    inputs = [(name, TensorProto.INT64, ["n"]) for name in ("ids", "columns", "other_ids", "attentionMask", "x_lens")]
    found = spec(tmp_path, inputs, [("a", 1, None)], nodes, {"large": 50, "small": 9})
    values = {tensor.name: (tensor.generator, tensor.low, tensor.high, tensor.is_index) for tensor in found.inputs}
    assert values["ids"] == ("integer", 0, 9, True)
    assert values["columns"] == ("integer", 0, 2, True)
    assert values["other_ids"] == ("integer", 0, 2, False)
    assert values["attentionMask"][0] == "mask"
    assert values["x_lens"][0] == "length"
    assert "ids 0 to 8" in describe_test_values(found)[0]


def test_a_declaration_changes_one_input_and_leaves_the_rest(tmp_path: Path) -> None:
    mine = (TensorSettings("b", high=7), TensorSettings("c", shape=[2, "frames"]))
    ports: list[Port] = [("a", 7, ["n"]), ("b", 7, ["n"]), ("c", 1, [2, None])]
    found = spec(tmp_path, ports, [("y", 1, [2])], mine=mine)
    assert [(t.name, t.shape, t.dtype, t.high) for t in found.inputs] == [
        ("a", ("n",), "int64", 2),
        ("b", ("n",), "int64", 7),
        ("c", (2, "frames"), "float32", 1),
    ]
    with pytest.raises(ModelError, match=r"declares z, but .* has the inputs a, b, c"):
        spec(tmp_path, ports, [("y", 1, [2])], mine=(TensorSettings("z"),))


def _optional(name: str) -> onnx.ValueInfoProto:
    return helper.make_value_info(name, helper.make_optional_type_proto(helper.make_tensor_type_proto(1, [1])))


def _map(name: str) -> onnx.ValueInfoProto:
    return helper.make_value_info(name, helper.make_map_type_proto(7, helper.make_tensor_type_proto(1, [])))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (helper.make_tensor_sequence_value_info("s", 1, None), "the input 's', which is a sequence"),
        (_optional("s"), "which is an optional value"),
        (_map("s"), "which is a map"),
        (helper.make_tensor_value_info("s", TensorProto.STRING, [1]), "elements string"),
        (helper.make_tensor_value_info("s", TensorProto.COMPLEX64, [1]), "elements complex64"),
        (helper.make_tensor_value_info("s", TensorProto.FLOAT, None), "does not state the shape of the input 's'"),
    ],
)
def test_values_that_no_build_can_bind_are_refused(tmp_path: Path, value: onnx.ValueInfoProto, expected: str) -> None:
    out = helper.make_tensor_value_info("y", 1, [1])
    onnx.save(helper.make_model(helper.make_graph([], "g", [value], [out])), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=expected) as caught:
        spec_of_graph(tmp_path / "m.onnx", ModelSettings(family=Family.onnx))
    assert caught.value.hint
