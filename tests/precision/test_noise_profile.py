"""The node that adds noise is named, and not the nodes after it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from cosybuild.numerics.inputs import Array
from cosybuild.precision.decide import Decisions
from cosybuild.precision.failing_part import smallest_cut
from cosybuild.precision.graph import prepare
from cosybuild.precision.lower import lower
from cosybuild.precision.noise_profile import Point, decibels, noise_by_module, profile, profile_facts
from cosybuild.precision.storage import FP16
from tests.precision.graphs import graph

CHAIN = """
g (float[N, 4] x) => (float[N, 4] y) {
  a = Tanh(x)
  b = Add(a, big)
  c = Transpose<perm=[1, 0]>(b)
  d = Transpose<perm=[1, 0]>(c)
  e = Sub(d, big)
  y = MatMul(e, w)
}
"""
X = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)


def models(big: float, text: str = CHAIN) -> tuple[ir.Model, ir.Model]:
    """Return the graph with all nodes lowered, and the float32 graph."""
    model = graph(text, {"big": np.float32(big), "w": np.eye(4, dtype=np.float32)})
    for node in model.graph:
        node.name = f"/block.{'0' if node.name in ('/a', '/b') else '1'}{node.name}"
    prepare(model, FP16)
    return lower(model, Decisions(FP16, {}, True)).model, model


def points(big: float) -> dict[str, Point]:
    return {point.tensor: point for point in profile(*models(big), {"x": np.float16(X).astype(np.float32)})}


def test_noise_is_added_by_rounding_and_grows_when_the_signal_shrinks() -> None:
    found = points(512.0)
    assert found["b"].noise > 100 * found["a"].noise * 0.01
    assert found["e"].noise > 1e4 * found["b"].noise
    assert found["c"].noise == pytest.approx(found["b"].noise)
    assert (found["c"].fresh, found["d"].fresh) == (0.0, 0.0)
    assert max(found.values(), key=lambda point: point.fresh).tensor == "e"
    assert all(point.lowered for point in found.values())


def test_a_value_that_is_not_finite_counts_only_for_the_node_that_makes_it() -> None:
    text = CHAIN.replace("Add(a, big)", "Mul(a, big)").replace("Sub(d, big)", "Div(d, big)")
    lowered, model = models(6e4, text)
    found = {p.tensor: p for p in profile(lowered, model, {"x": np.array([[3000, -3000, 3000, 200]] * 3, np.float32)})}
    assert found["b"].fresh < math.inf  # tanh is at most 1, and fp16 represents 60,000
    text = text.replace("Tanh(x)", "Neg(x)")
    lowered, model = models(6e4, text)
    found = {p.tensor: p for p in profile(lowered, model, {"x": np.array([[3, -3, 1, 2]] * 3, np.float32)})}
    assert (found["b"].noise, found["b"].fresh) == (math.inf, math.inf)
    assert (found["e"].noise, found["e"].fresh) == (math.inf, 0.0)
    assert noise_by_module(tuple(found.values())) == {"block.0": math.inf, "block.1": 0.0}


def test_a_node_in_float32_adds_no_noise() -> None:
    _, model = models(512.0)
    kept = dict.fromkeys((str(node.name) for node in model.graph), "all")
    same = lower(model, Decisions(FP16, kept, False)).model
    found = profile(same, model, {"x": X})
    assert {point.noise for point in found} == {0.0}
    assert not any(point.lowered for point in found)
    assert profile_facts(found, "a case")["nodes"] == []


def test_the_facts_are_plain_data_with_the_worst_node_first() -> None:
    facts = profile_facts(tuple(points(512.0).values()), "a case")
    assert facts["nodes"][0]["node"] == "/block.1/e"
    assert facts["modules"][0]["module"] == "block.1"
    assert facts["blocks"] == [[0, "block.0"], [2, "block.1"]]
    assert len(facts["curve"]) == 6
    not_finite = Point("n", "Mul", "m", "t", math.inf, math.inf, True)
    assert profile_facts((not_finite,), "")["curve"] == ["-Infinity"]
    assert decibels(0.0) == math.inf


def misses(actual: Mapping[str, Array], expected: Mapping[str, Array]) -> str | None:
    worst = max(float(np.max(np.abs(actual[name] - expected[name]))) for name in expected)
    return f"off by {worst:.3g}" if worst > 0.1 else None


def test_the_extracted_part_is_small_and_fails_alone() -> None:
    lowered, model = models(512.0)
    inputs = {"x": np.float16(X).astype(np.float32)}
    cut = smallest_cut(lowered, model, profile(lowered, model, inputs), inputs, misses)
    assert cut is not None
    assert cut.nodes == ("/block.0/b",)
    assert list(cut.inputs) == ["a"]
    assert [node.op_type for node in cut.lowered.graph] == ["Add"]
    assert cut.missed.startswith("off by")


def test_a_graph_that_passes_has_no_part_that_fails() -> None:
    lowered, model = models(1.0)
    inputs = {"x": np.float16(X).astype(np.float32)}
    assert smallest_cut(lowered, model, profile(lowered, model, inputs), inputs, misses) is None


def test_a_cast_between_two_nodes_belongs_to_the_part() -> None:
    _, model = models(512.0)
    lowered = lower(model, Decisions(FP16, {"/block.0/a": "kept"}, True)).model
    inputs = {"x": np.float16(X).astype(np.float32)}
    cut = smallest_cut(lowered, model, profile(lowered, model, inputs), inputs, misses)
    assert cut is not None
    assert [node.op_type for node in cut.lowered.graph] == ["Cast", "Add"]
    assert [node.op_type for node in cut.reference.graph] == ["Add"]
