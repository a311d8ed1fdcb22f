"""The typed graph: all types agree, it has the fewest casts, and its function is the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from cosybuild.config.groups.precision import InputOutput, Target
from cosybuild.errors import PrecisionError
from cosybuild.onnxgraph.check import InvalidGraph, check_model
from cosybuild.onnxgraph.clean import module_path
from cosybuild.precision.constants import convert_constant, examine
from cosybuild.precision.decide import Decisions
from cosybuild.precision.graph import prepare
from cosybuild.precision.lower import lower
from cosybuild.precision.storage import BF16, FP16
from tests.precision.graphs import casts, checked, decided, graph, types

CHAIN = "g (float[2, 4] x) => (float[2, 4] y) { a = MatMul(x, w)  b = Tanh(a)  c = Add(b, a)  y = MatMul(c, w) }"
WEIGHTS = {"w": np.eye(4, dtype=np.float32) * 0.5}


def lowering(*kept: str, match_io: bool = True, text: str = CHAIN) -> tuple[ir.Model, int]:
    model = graph(text, WEIGHTS)
    prepare(model, FP16)
    lowered = checked(model, Decisions(FP16, dict.fromkeys(kept, "asked for"), match_io))
    return lowered.model, lowered.casts


def test_a_graph_without_kept_nodes_needs_no_cast() -> None:
    model, count = lowering()
    assert (count, casts(model)) == (0, [])
    assert set(types(model).values()) == {"FLOAT16"}


def test_a_graph_with_all_nodes_kept_changes_only_its_interface() -> None:
    model, count = lowering("/a", "/b", "/c", "/y")
    assert count == 2
    assert casts(model) == [("x", "FLOAT"), ("y__fp32", "FLOAT16")]
    model, count = lowering("/a", "/b", "/c", "/y", match_io=False)
    assert (count, set(types(model).values())) == (0, {"FLOAT"})


def test_each_tensor_is_cast_once_in_each_direction() -> None:
    model, count = lowering("/b", "/c")
    # `a` is read by two kept nodes and cast once; b goes to c without any.
    assert casts(model) == [("a", "FLOAT"), ("c", "FLOAT16")]
    assert count == 2


def test_a_cast_belongs_to_the_module_that_its_tensor_comes_from() -> None:
    """An overflow may first appear after a cast; the message then names the node that made the value."""
    text = CHAIN.replace("(a", '("blocks.0/attn/MatMul_output_0"').replace(
        "{ a =", '{ "blocks.0/attn/MatMul_output_0" ='
    )
    text = text.replace(", a)", ', "blocks.0/attn/MatMul_output_0")')
    model, _ = lowering("/b", "/c", text=text)
    made = [node.name for node in model.graph if node.op_type == "Cast" and "MatMul" in (node.inputs[0].name or "")]
    assert [module_path(name or "") for name in made] == ["blocks.0.attn"]


def test_a_constant_that_both_types_read_exists_twice() -> None:
    model, _ = lowering("/y")
    assert {"w": "FLOAT", "w__fp16": "FLOAT16"}.items() <= types(model).items()
    assert casts(model) == [("c", "FLOAT"), ("y__fp32", "FLOAT16")]


def test_casts_connect_a_lowered_graph_to_a_float32_interface() -> None:
    model, _ = lowering(match_io=False)
    assert casts(model) == [("x", "FLOAT16"), ("y__fp16", "FLOAT")]
    assert [value.name for value in model.graph.outputs] == ["y"]
    assert {v.name: v.dtype.name for v in (*model.graph.inputs, *model.graph.outputs)} == {"x": "FLOAT", "y": "FLOAT"}


def test_no_cast_reverses_another_cast() -> None:
    for kept in ((), ("/a",), ("/b",), ("/a", "/c"), ("/b", "/y"), ("/a", "/b", "/y")):
        for match_io in (True, False):
            model, _ = lowering(*kept, match_io=match_io)
            made = {node.outputs[0] for node in model.graph if node.op_type == "Cast"}
            assert not any(node.inputs[0] in made for node in model.graph if node.op_type == "Cast")
            sources = [tensor for tensor, _ in casts(model)]
            assert len(sources) == len(set(sources))


def test_lowering_is_pure_and_repeatable() -> None:
    model = graph(CHAIN, WEIGHTS)
    prepare(model, FP16)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    decisions = Decisions(FP16, {"/b": "asked for"}, True)
    first, second = (ir.to_proto(lower(model, decisions).model).SerializeToString(deterministic=True) for _ in "12")
    assert first == second
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_index_arithmetic_and_fixed_types_are_not_changed() -> None:
    text = """
    g (float[1, 2, 4] x) => (float[1, 2, N] y) {
      n = Shape(x)
      k = Gather(n, two)
      r = Resize<mode="nearest">(x, , scales)
      y = Mul(r, half)
    }
    """
    constants = {"two": np.array(2), "scales": np.float32([1, 1, 2]), "half": np.float32(0.5)}
    model = graph(text, constants)
    lowered = checked(model, decided(model, {"x": np.ones((1, 2, 4), np.float32)}))
    found = types(lowered.model)
    assert (found["n"], found["k"], found["scales"]) == ("INT64", "INT64", "FLOAT")
    assert (found["r"], found["half"]) == ("FLOAT16", "FLOAT16")
    assert casts(lowered.model) == []  # Shape takes x as it is


def test_types_in_attributes_are_changed_too() -> None:
    text = """
    g (bool[4] m, float[4] x) => (float[4] y) {
      f = Cast<to=1>(m)
      z = ConstantOfShape<value=float[1] {2.5}>(four)
      a = Mul(f, x)
      y = Add(a, z)
    }
    """
    model = graph(text, {"four": np.array([4])})
    lowered = checked(model, decided(model, {"m": np.ones(4, np.bool_), "x": np.ones(4, np.float32)}))
    assert types(lowered.model)["f"] == "FLOAT16"
    assert types(lowered.model)["z"] == "FLOAT16"
    assert lowered.casts == 0


def test_subgraphs_stay_in_float32_and_get_captured_values_in_float32() -> None:
    text = """
    g (bool c, float[2] x) => (float[2] y) {
      a = Relu(x)
      b = If(c) <
        then_branch = t () => (float[2] p) { p = Neg(a) },
        else_branch = e () => (float[2] q) { q = Identity(a) }
      >
      y = Tanh(b)
    }
    """
    model = graph(text)
    decisions = decided(model, {"c": np.array(True), "x": np.float32([1, 2])})
    assert decisions.kept == {"/b": "If has sub-graphs, which stay in float32"}
    lowered = checked(model, decisions)
    assert casts(lowered.model) == [("a", "FLOAT"), ("b", "FLOAT16")]


def test_clipped_masks_are_written_into_the_graph() -> None:
    model = graph("g (float[2] x) => (float[2] y) { y = Add(x, c) }", {"c": np.float32([0, -np.inf])})
    prepare(model, FP16)
    lowered = checked(model, Decisions(FP16, {}, True, {"c": 16384.0}))
    tensor = lowered.model.graph.initializers["c"].const_value
    assert tensor is not None
    assert tensor.numpy().tolist() == [0, -16384]


def test_a_node_without_variant_must_be_kept() -> None:
    model = graph("g (float[2] x) => (float[2] y) { y = Softplus(x) }", opset=17)
    prepare(model, BF16)
    with pytest.raises(PrecisionError, match=r"/y cannot be lowered: Softplus of opset 17 has no BFLOAT16"):
        lower(model, Decisions(BF16, {}, True))


def test_the_checker_of_these_tests_finds_a_node_of_mixed_types() -> None:
    model, _ = lowering()
    proto = ir.to_proto(model)
    weight = proto.graph.initializer[0]
    weight.CopyFrom(onnx.numpy_helper.from_array(WEIGHTS["w"], weight.name))
    with pytest.raises(InvalidGraph):
        check_model(proto)


def test_lost_elements_of_a_constant_are_counted() -> None:
    tensor = ir.tensor(np.float32([0, 1, 7e4, 65519, 1e-8, 2.9e-8, 3.1e-8, 1e-5, -1e5]))
    facts = examine(tensor, FP16)
    assert (facts.overflowing, facts.vanishing, facts.subnormal) == (3, 2, 2)
    stored = convert_constant(tensor, FP16, "c").numpy()
    assert np.isinf(stored).sum() == 2  # 65519 rounds down to the largest number
    assert (stored == 0).sum() == 1 + facts.vanishing
    assert examine(tensor, BF16).overflowing == 0


def test_a_bfloat16_graph_is_well_typed() -> None:
    text = "g (float[1, 2, 8] x) => (float[1, 2, 8] y) { a = Conv(x, w)  b = Softplus(a)  y = Tanh(b) }"
    model = graph(text, {"w": np.ones((2, 2, 1), np.float32)})
    sample = {"x": np.ones((1, 2, 8), np.float32)}
    lowered = checked(model, decided(model, sample, target=Target.bf16))
    assert set(types(lowered.model).values()) == {"BFLOAT16"}
    lowered = checked(model, decided(model, sample, target=Target.bf16, io=InputOutput.keep))
    assert lowered.casts == 2
