"""An ONNX file that is built by its path alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.scenarios.commands import Answer

TYPES = {"k": 1, "past": 1, "ids": 7, "gain": 11, "on": 9, "pixels": 2}
SHAPES = {"k": ["N b", 2, "t"], "past": ["N b", 2, "past"], "ids": ["N b"], "gain": [], "on": [], "pixels": [1]}


def graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Concat", ["past", "k"], ["387"], axis=2),
        helper.make_node("Gather", ["table", "ids"], ["row"]),
        helper.make_node("Cast", ["gain"], ["g"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["on"], ["o"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["pixels"], ["p"], to=TensorProto.FLOAT),
        helper.make_node("Sum", ["row", "g", "o", "p"], ["Identity:0"]),
    ]
    inputs = [helper.make_tensor_value_info(name, kind, SHAPES[name]) for name, kind in TYPES.items()]
    outputs = [
        helper.make_tensor_value_info(name, 1, shape)
        for name, shape in (("387", ["unk__1", 2, "unk__2"]), ("Identity:0", [None, 3]))
    ]
    table = numpy_helper.from_array(np.arange(15, dtype=np.float32).reshape(5, 3), "table")
    made = helper.make_graph(nodes, "g", inputs, outputs, [table])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_file_with_every_kind_of_input_is_built_by_its_path(command: Callable[..., Answer]) -> None:
    onnx.save(graph(), "mine.onnx")
    words = ("model=onnx", "model.path=mine.onnx", "simplify=none", "trt=none")
    planned = command(*words, "dry_run=true")
    assert planned.code == 0, planned.err
    assert "N_b 1 to 4" in " ".join(planned.out.split())
    assert not Path("outputs").exists()
    answer = command(*words)
    assert answer.code == 0, answer.err
    (path,) = Path("outputs/runs").glob("*/report.json")
    report = json.loads(path.read_text(encoding="utf-8"))
    assert [tensor["dtype"] for tensor in report["model"]["inputs"]] == [
        *("float32", "float32", "int64", "float64", "bool", "uint8")
    ]
    assert report["profiles"][0]["past"]["sizes"] == [0, 8, 16]
    assert report["model"]["inputs"][2]["range"] == [0, 5]
    assert report["verified"]
    record = json.loads(next(path.parent.rglob("verification.json")).read_text(encoding="utf-8"))
    assert any("past=0" in case["case"] for case in record["cases"])


def test_a_wrong_shape_of_an_output_is_a_warning_and_a_declaration_corrects_the_graph(
    command: Callable[..., Answer],
) -> None:
    """Shape inference knows the right size here, and the file states another one; runtimes load such files."""
    ports = [helper.make_tensor_value_info(name, 1, ["b", size]) for name, size in (("x", 4), ("y", 9))]
    made = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ports[:1], ports[1:])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "mine.onnx")
    words = ("model=onnx", "model.path=mine.onnx", "trt=none")
    answer = command(*words, "precision=fp16")
    assert answer.code == 0, answer.err
    assert "model.outputs=[{name: 'y', shape: [b, 4]}] corrects it" in answer.out + answer.err
    assert command(*words, "model.outputs=[{name: 'y', shape: [b, 4]}]").code == 0
    (corrected,) = Path("outputs/runs").glob("*fp32*/artifacts/mine.onnx")
    assert onnx.load(corrected).graph.output[0].type.tensor_type.shape.dim[1].dim_value == 4


def test_a_declared_symbol_replaces_a_wrong_fixed_size_of_an_output(command: Callable[..., Answer]) -> None:
    """The size depends on values, so the declared axis has a name that no input has."""
    x = helper.make_tensor_value_info("x", 1, ["b", 4])
    y = helper.make_tensor_value_info("y", 7, [2, 9])
    made = helper.make_graph([helper.make_node("NonZero", ["x"], ["y"])], "g", [x], [y])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "mine.onnx")
    words = ("model=onnx", "model.path=mine.onnx", "trt=none", "verify=off")
    assert command(*words, "model.outputs=[{name: y, shape: [2, found], dtype: int64}]").code == 0
    (corrected,) = Path("outputs/runs").glob("*/artifacts/mine.onnx")
    assert onnx.load(corrected).graph.output[0].type.tensor_type.shape.dim[1].dim_param == "found"


def test_an_engine_with_a_type_that_tensorrt_lacks_is_refused_first(command: Callable[..., Answer]) -> None:
    onnx.save(graph(), "mine.onnx")
    answer = command("model=onnx", "model.path=mine.onnx", "trt=fp32")
    answer.says(2, "TensorRT has no float64, which 'gain' is")
    assert not Path("outputs").exists()
