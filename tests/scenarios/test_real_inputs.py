"""A model that takes no drawn inputs is verified, calibrated and timed on real ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.scenarios.commands import Place

BATCHES = """
import numpy as np

def batches(count):
    for index in range(count):
        yield {"ids": np.array([[0, 7, 7 + index]])}
"""


def table(path: Path) -> None:
    """Write a graph that refuses ids between 1 and 6: a reshape has room for none of them."""
    nodes = [
        helper.make_node("Sub", ["ids", "seven"], ["shifted"]),
        helper.make_node("Mul", ["ids", "shifted"], ["product"]),
        helper.make_node("ReduceMin", ["product"], ["least"], keepdims=0),
        helper.make_node("Min", ["least", "nought"], ["sign"]),
        helper.make_node("Gather", ["guard", "sign"], ["allowed"]),
        helper.make_node("Gather", ["weights", "ids"], ["rows"]),
        helper.make_node("Mul", ["rows", "allowed"], ["y"]),
    ]
    constants = {"seven": np.array(7), "nought": np.array(0), "guard": np.ones(1, np.float32)}
    constants["weights"] = np.linspace(-1, 1, 40, dtype=np.float32).reshape(10, 4)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "tokens", 4])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def test_real_inputs_replace_drawn_ones(place: Place) -> None:
    table(place.directory / "table.onnx")
    words = ["model=onnx", "model.path=table.onnx", "trt=none", "precision=fp16"]
    drawn = place.cosybuild(*words, code=5)
    assert "or verify.inputs=FILE.npz with real inputs" in drawn.err
    shutil.rmtree(place.directory / "outputs" / "runs")
    (place.directory / "real").mkdir()
    for name, ids in (("a", [[0, 8, 9]]), ("b", [[7, 7, 0, 0, 9]])):
        np.savez(place.directory / "real" / f"{name}.npz", ids=np.array(ids))
    place.cosybuild(*words, "verify.inputs=real", "benchmark=quick")
    report = place.report()
    assert report["profiles"] == [
        {"batch": {"sizes": [1, 1, 1], "per_second": None}, "tokens": {"sizes": [3, 3, 5], "per_second": None}}
    ]
    metrics = {step["label"]: step["metrics"] for step in report["steps"]}
    assert metrics["verify"]["cases"] == 2
    assert metrics["precision"]["calibration"] == {"inputs": 2, "from": "files"}
    assert [case["sizes"] for case in metrics["benchmark"]["cases"]] == [
        {"batch": 1, "tokens": 3}, {"batch": 1, "tokens": 5}
    ]  # fmt: skip
    np.savez(place.directory / "real" / "b.npz", ids=np.array([[7, 7, 0, 0, 8]]))
    shutil.rmtree(place.directory / "outputs" / "runs")
    place.cosybuild(*words, "verify.inputs=real")
    assert {step["label"]: step["action"] for step in place.report()["steps"]}["reference"] == "built"


def test_code_yields_the_inputs(place: Place) -> None:
    table(place.directory / "table.onnx")
    (place.directory / "feed.py").write_text(BATCHES)
    words = ["model=onnx", "model.path=table.onnx", "trt=none"]
    place.cosybuild(*words, "verify.inputs={_target_: feed.batches, count: 3}")
    assert {s["label"]: s["metrics"] for s in place.report()["steps"]}["verify"]["cases"] == 3
    refused = place.cosybuild(*words, "verify.inputs={_target_: feed.none}", code=3)
    assert "verify.inputs could not be read: feed.none" in refused.err
