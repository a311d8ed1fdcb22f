"""Runs with emulated storage types: they show overflows that ONNX Runtime's CPU kernels hide, and name the node."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from cosybuild.backends.onnxruntime_backend import Level, load
from cosybuild.precision.decide import Decisions
from cosybuild.precision.emulated_session import EmulatedSession
from cosybuild.precision.emulation import emulate
from cosybuild.precision.graph import prepare
from cosybuild.precision.storage import BF16, FP16, Storage
from tests.precision.graphs import checked, decided, graph


def pair(text: str, storage: Storage = FP16, **constants: np.ndarray) -> tuple[ir.Model, ir.Model]:
    """Return the graph with all nodes lowered, and the reference."""
    reference = graph(text, constants)
    prepare(reference, storage)
    return checked(reference, Decisions(storage, {}, True)).model, reference


PLANTED = "g (float[4] x) => (float[4] y) { a = Mul(x, x)  b = Add(a, a)  y = Sqrt(b) }"


@pytest.mark.parametrize("level", list(Level))
def test_an_overflow_that_onnx_runtime_hides_is_found(tmp_path: Path, level: Level) -> None:
    lowered, reference = pair(PLANTED)
    lowered.graph[0].name = "/blocks.0/norm/Mul"
    path = tmp_path / "lowered.onnx"
    ir.save(lowered, str(path))
    x = np.float32([1, 300, 2, 3])  # 300 squared is beyond 65504
    plain = load(path, level=level).infer({"x": x.astype(np.float16)})["y"]
    assert np.isfinite(plain).all()
    outputs, guilty = EmulatedSession(lowered, reference).infer({"x": x})
    assert guilty is not None
    assert (guilty.tensor, guilty.node, guilty.op, guilty.module) == ("a", "/blocks.0/norm/Mul", "Mul", "blocks.0.norm")
    assert (guilty.count, guilty.total, guilty.reference_max) == (1, 4, 9e4)
    assert np.isinf(outputs["y"][1])


def test_bfloat16_represents_values_beyond_fp16() -> None:
    lowered, reference = pair(PLANTED, BF16)
    outputs, guilty = EmulatedSession(lowered, reference).infer({"x": np.float32([1, 300, 2, 3])})
    assert guilty is None
    assert np.allclose(outputs["y"], np.sqrt(2) * np.float32([1, 300, 2, 3]), rtol=2**-7)


def test_every_node_is_rounded_as_numpy_does() -> None:
    text = "g (float[64] x) => (float[64] y) { a = Mul(x, x)  b = Add(a, x)  t = Neg(b)  y = Mul(t, c) }"
    lowered, reference = pair(text, c=np.float32([0.1]))
    x = np.random.default_rng(0).standard_normal(64).astype(np.float32)
    outputs, guilty = EmulatedSession(lowered, reference).infer({"x": x})
    half = x.astype(np.float16)
    assert guilty is None
    assert np.array_equal(outputs["y"], (-(half * half + half) * np.float16(0.1)).astype(np.float32))


def test_kept_nodes_are_not_rounded() -> None:
    model = graph("g (float[4] x) => (float[4] y) { a = Mul(x, x)  y = Sqrt(a) }")
    prepare(model, FP16)
    lowered = checked(model, Decisions(FP16, {"/a": "range"}, True)).model
    # a stays in fp32 and does not overflow; its cast to fp16 for the square root does.
    _, guilty = EmulatedSession(lowered, model).infer({"x": np.full(4, 300, np.float32)})
    assert guilty is not None
    assert (guilty.tensor, guilty.op) == ("a__fp16", "Cast")
    lowered = checked(model, Decisions(FP16, {"/a": "range", "/y": "range"}, True)).model
    outputs, guilty = EmulatedSession(lowered, model).infer({"x": np.full(4, 300, np.float32)})
    assert guilty is None
    assert np.array_equal(outputs["y"], np.full(4, 300, np.float32))


def test_infinities_that_float32_has_too_are_not_faults() -> None:
    text = """
    g (float[1, 4] x, bool[1, 4] m) => (float[1, 4] y) {
      s = Where(m, x, low)
      y = Softmax(s)
    }
    """
    lowered, reference = pair(text, low=np.float32(-np.inf))
    inputs = {"x": np.ones((1, 4), np.float32), "m": np.array([[True, True, False, False]])}
    outputs, guilty = EmulatedSession(lowered, reference).infer(inputs)
    assert guilty is None
    assert outputs["y"].tolist() == [[0.5, 0.5, 0, 0]]


def test_infinite_inputs_are_not_faults() -> None:
    """The rounded input is a tensor of the emulation only, and no node of the lowered graph makes it."""
    lowered, reference = pair("g (float[3] x) => (float[3] y) { y = Relu(x) }")
    values = np.array([np.inf, -np.inf, 7.0], np.float32)
    outputs, guilty = EmulatedSession(lowered, reference).infer({"x": values})
    assert guilty is None
    assert outputs["y"].tolist() == [np.inf, 0.0, 7.0]


def test_a_cast_of_an_infinite_input_is_no_fault() -> None:
    """IsInf stays in float32, so that the lowered graph casts its input."""
    reference = graph("g (float[3] x) => (bool[3] y) { y = IsInf(x) }")
    lowered = checked(reference, decided(reference, {"x": np.ones(3, np.float32)})).model
    assert [node.op_type for node in lowered.graph] == ["Cast", "IsInf"]
    values = np.array([np.inf, -np.inf, 7.0], np.float32)
    outputs, guilty = EmulatedSession(lowered, reference).infer({"x": values})
    assert guilty is None
    assert outputs["y"].tolist() == [True, True, False]


def test_zero_times_an_infinite_constant_is_found() -> None:
    text = "g (float[2] x) => (float[2] y) { a = Sub(one, x)  b = Mul(a, low)  y = Tanh(b) }"
    lowered, reference = pair(text, one=np.float32(1), low=np.float32(-1e10))
    _, guilty = EmulatedSession(lowered, reference).infer({"x": np.ones(2, np.float32)})
    assert guilty is not None
    assert (guilty.node, guilty.count) == ("/b", 2)


def test_emulation_does_not_change_the_lowered_graph() -> None:
    lowered, _ = pair(PLANTED)
    before = ir.to_proto(lowered).SerializeToString(deterministic=True)
    emulated = emulate(lowered)
    assert ir.to_proto(lowered).SerializeToString(deterministic=True) == before
    assert {v.dtype for v in (*emulated.graph.inputs, *emulated.graph.outputs)} == {ir.DataType.FLOAT}
