"""The check of the types that a compiled model computes in."""

from __future__ import annotations

import pytest

from cosybuild.backends.openvino.executed_types import Layer, facts_of, unmet
from cosybuild.backends.openvino.kept_in_fp32 import Kept

DEFAULT = Kept(("arithmetic", "phases"), frozenset(["time/Mul"]))


def product(dtype: str, name: str = "attn/MatMul") -> Layer:
    return Layer("FullyConnected", dtype, {name: "MatMul"})


def addition(dtype: str, name: str = "res/Add") -> Layer:
    return Layer("Eltwise", dtype, {name: "Add"})


def test_facts_count_layers_by_type() -> None:
    found = facts_of([product("bf16"), product("bf16"), product("f32"), addition("f32")])
    assert found == {
        "layers": {"Eltwise": {"f32": 1}, "FullyConnected": {"bf16": 2, "f32": 1}},
        "products": {"bf16": 2, "f32": 1},
    }


@pytest.mark.parametrize("dtype", ["bf16", "f16"])
def test_any_smaller_type_in_float32_is_reported(dtype: str) -> None:
    assert unmet([product("f32"), addition("f32")], "fp32", Kept(()), 1.0) == []
    (line,) = unmet([product("f32"), addition(dtype)], "fp32", Kept(()), 1.0)
    assert line == f"res/Add (Eltwise) compute in {dtype}, and ov.precision=fp32 is set"


def test_products_in_another_type_are_reported_above_the_allowed_share() -> None:
    layers = [product("bf16"), product("bf16"), product("bf16"), product("f32", "ff/MatMul"), addition("f32")]
    (line,) = unmet(layers, "bf16", DEFAULT, 0.0)
    assert "1 of 4 layers with matrix products compute in f32 (allowed: 0%), such as ff/MatMul (FullyConnected)" in line
    assert unmet(layers, "bf16", DEFAULT, 0.25) == []


def test_a_layer_that_has_only_the_name_of_a_joined_addition_counts_as_a_product() -> None:
    joined = Layer("FullyConnected", "bf16", {"ff/Gemm": "Add"})
    assert joined.has_products
    assert unmet([joined], "bf16", DEFAULT, 0.0) == []
    assert len(unmet([Layer("FullyConnected", "f32", {"ff/Gemm": "Add"})], "bf16", DEFAULT, 0.0)) == 1
    assert len(unmet([joined], "bf16", Kept(("*Gemm*",)), 0.0)) == 1


def test_a_product_that_a_pattern_names_must_compute_in_float32() -> None:
    kept = Kept(("*final*",))
    assert unmet([product("bf16"), product("f32", "final/MatMul")], "bf16", kept, 0.0) == []
    (line,) = unmet([product("bf16"), product("f16", "final/MatMul")], "bf16", kept, 0.0)
    assert "final/MatMul (FullyConnected) in f16" in line


def test_one_argument_of_a_sine_in_a_smaller_type_is_too_many() -> None:
    layers = [product("bf16"), *(addition("f32", f"{index}/Add") for index in range(30))]
    assert unmet([*layers, Layer("Eltwise", "bf16", {"gate/Mul": "Multiply"})], "bf16", DEFAULT, 0.0) == []
    (line,) = unmet([*layers, Layer("Eltwise", "bf16", {"time/Mul": "Multiply"})], "bf16", DEFAULT, 0.0)
    assert line == "arguments of sines are computed in a smaller type: time/Mul (Eltwise) in bf16"


def test_an_attribute_that_openvino_ignores_is_reported() -> None:
    (line,) = unmet([product("bf16"), addition("bf16"), addition("f32")], "bf16", DEFAULT, 0.0)
    assert line.startswith("ov.keep_fp32 matches 2 layers, of which 1 compute in a smaller type: res/Add (Eltwise)")
