"""The builder of engines crashes in native code: the run says so and keeps its results, and the next run uses them."""

from __future__ import annotations

import signal

import onnx
import pytest
from onnx import TensorProto, helper

from cosybuild.errors import EngineError
from tests.scenarios.commands import Place

pytest.importorskip("tensorrt_rtx")

TENSOR = "[{name: %s, shape: [2, 8, seq_len, 64]}]"
WORDS = (
    "model=onnx",
    "model.path=same.onnx",
    f"model.inputs={TENSOR % 'x'}",
    f"model.outputs={TENSOR % 'y'}",
    "simplify=none",
    "trt=fp32",
    "trt_profile.profiles=[{seq_len: {min: 4, opt: 8, max: 16}}]",
)


def test_a_crash_of_the_builder_ends_the_step_and_not_the_command(place: Place) -> None:
    """Attention whose query, key and value are one tensor: TensorRT-RTX 1.7 reads address 0."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 8, "seq_len", 64]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Attention", ["x", "x", "x"], ["y"])], "same", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    onnx.save(model, place.directory / "same.onnx")
    ran = place.cosybuild(*WORDS, code=None)
    steps = {step["label"]: step["action"] for step in place.report()["steps"]}
    if ran.code == 0:
        assert steps["engine sm_89"] == "built"
        pytest.skip("this version compiles the graph")
    assert ran.code == EngineError.exit_code
    assert f"its process was ended by {signal.SIGSEGV.name}" in ran.err
    assert "Next: run the same command again" in ran.err
    assert steps == {"adopt": "built", "reference": "built", "verify": "built", "engine sm_89": "failed"}
    assert list((place.directory / "outputs" / "store" / "tmp").iterdir()) == []
    (kept,) = (artifact["path"] for artifact in place.report()["artifacts"])
    (run,) = place.runs()
    assert (run / kept).read_bytes() == (place.directory / "same.onnx").read_bytes(), "the verified graph is kept"
    again = place.cosybuild(*WORDS[:-2], WORDS[-1], "trt=none")
    taken = [line.split()[1] for line in again.out.splitlines() if line.startswith(("adopt", "reference", "verify"))]
    assert taken == ["cached"] * 3, again.out
