"""Inputs and outputs that are read without onnx, compared with onnx's own reader."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from cosybuild.onnxgraph.header import GraphPort, read_header
from tests.onnxgraph.graphs import linear

_TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "int64": TensorProto.INT64}
_ports = st.builds(
    GraphPort,
    st.text("abcxyz_.é", min_size=1, max_size=200),
    st.sampled_from(sorted(_TYPES)),
    st.lists(st.one_of(st.integers(0, 2**40), st.text("ab", min_size=1, max_size=4)), max_size=5).map(tuple),
)


def _write(path: Path, inputs: list[GraphPort], outputs: list[GraphPort], weight: int = 3) -> Path:
    sides = [[helper.make_tensor_value_info(p.name, _TYPES[p.dtype], p.shape) for p in s] for s in (inputs, outputs)]
    tensor = helper.make_tensor("weight", TensorProto.FLOAT, [weight], [0.5] * weight)
    # An old model lists its weights among the inputs.
    listed = helper.make_tensor_value_info("weight", TensorProto.FLOAT, [weight])
    graph = helper.make_graph([], "g", [*sides[0], listed], sides[1], [tensor])
    onnx.save(helper.make_model(graph, ir_version=3), path)
    return path


@settings(max_examples=50, deadline=None)
@given(st.lists(_ports, max_size=4), st.lists(_ports, max_size=3))
def test_the_header_has_the_inputs_and_outputs_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, inputs: list[GraphPort], outputs: list[GraphPort]
) -> None:
    header = read_header(_write(tmp_path_factory.mktemp("h") / "m.onnx", inputs, outputs))
    assert (list(header.inputs), list(header.outputs)) == (inputs, outputs)


def test_a_truncated_file_is_reported(tmp_path: Path) -> None:
    path = _write(tmp_path / "m.onnx", [GraphPort("x", "float32", (2, "T"))], [GraphPort("y", "float32", (2,))], 300)
    content = path.read_bytes()
    # The opset import is the last field; without it the rest is a complete message.
    last = len(content) - len(helper.make_opsetid("", 1).SerializeToString()) - 2
    for length in range(last - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"incomplete|empty|no graph"):
            read_header(path)


@pytest.mark.parametrize("content", [b"not a model at all", bytes(64), b"\xff" * 64])
def test_a_file_of_another_kind_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"not an ONNX file|incomplete|no graph"):
        read_header(tmp_path / "m.onnx")


def test_minus_one_is_an_axis_of_any_size(tmp_path: Path) -> None:
    """Some converters write it in place of a name; it is stored as 2^64 - 1."""
    model = linear()
    dim = model.graph.input[0].type.tensor_type.shape.dim[0]
    dim.dim_value = -1
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    assert read_header(tmp_path / "g.onnx").inputs[0].shape[0] == ""
