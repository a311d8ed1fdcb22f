"""ONNX files of strangers that ONNX's own checker lets pass, or on which it does not run."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, save

from cosybuild.errors import ModelError, ServingError
from cosybuild.runtime import load_estimator
from tests.attacks.ground import Ground
from tests.backends.openvino.making import SHAPES
from tests.runtime import tiny


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


@pytest.mark.attack(
    "malformed", "the call is an error with a sentence, and no memory is returned that nothing was written to"
)
@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Concat", ["x", "x"], ["estimator_out"], axis=2),
        helper.make_node("Concat", ["x", "x"], ["estimator_out"], axis=1),
        helper.make_node("ReduceMax", ["x"], ["estimator_out"]),
        helper.make_node("MatMul", ["x", "x"], ["estimator_out"]),
    ],
    ids=["longer", "more channels", "one value", "fails"],
)
def test_an_estimator_whose_output_has_another_shape_is_an_error(node: NodeProto, tmp_path: Path) -> None:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in SHAPES.items()]
    output = helper.make_tensor_value_info("estimator_out", TensorProto.FLOAT, ["a", "b", "c"])
    opsets = [helper.make_opsetid("", 17)]
    graph = helper.make_graph([node], "g", inputs, [output])
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "m.onnx")
    estimator = load_estimator(tiny.certify(tmp_path / "m.onnx"))
    with pytest.raises(ServingError, match=r"ONNX Runtime ended the run of m\.onnx"):
        estimator(**tiny.inputs(9))
