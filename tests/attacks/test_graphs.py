"""ONNX files of strangers that ONNX's own checker lets pass, or on which it does not run."""

from __future__ import annotations

import pytest
from onnx import ModelProto, TensorProto, helper

from cosybuild.errors import ModelError
from tests.attacks.ground import Ground


def model(*weights: TensorProto, opset: int = 18) -> ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, "n"]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:], list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.attack("malformed", "the file is refused, and nothing of it is verified or delivered")
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (model(opset=99), "it has opset 99"),
        (model(TensorProto(name="w", data_type=99, dims=[1], raw_data=b"1234")), "unknown element type 99"),
        (model(TensorProto(name="w", data_type=0, dims=[1], raw_data=b"1234")), "unknown element type 0"),
    ],
    ids=["opset 99", "element type 99", "element type 0"],
)
def test_a_graph_that_no_runtime_can_load_is_refused(ground: Ground, given: ModelProto, words: str) -> None:
    (ground.directory / "m.onnx").write_bytes(given.SerializeToString())
    said = ground.command("model=onnx", "model.path=m.onnx", "trt=none")
    assert said.code == ModelError.exit_code
    assert words in said.text
    assert "defect of cosybuild" not in said.text
