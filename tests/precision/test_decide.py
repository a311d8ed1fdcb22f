"""Each rule on a graph that needs it, and on a similar graph that does not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cosybuild.config.groups.precision import InputOutput, PrecisionSettings, Target
from cosybuild.errors import PrecisionError
from cosybuild.precision.decide import decide
from cosybuild.precision.graph import prepare
from cosybuild.precision.ranges import Range, Ranges, measure_ranges
from cosybuild.precision.storage import BF16, FP16
from tests.precision.graphs import decided, graph

EMBEDDING = """
embed (float[B] t) => (float[B, 8] y) {
  p = Mul(t, thousand)
  u = Unsqueeze(p, one)
  a = Mul(u, freq)
  s = Sin(a)
  y = MatMul(s, w)
}
"""
EMBEDDING_CONSTANTS = {
    "thousand": np.float32(1000),
    "one": np.array([1], np.int64),
    "freq": np.linspace(1, 1e-3, 8, dtype=np.float32),
    "w": np.eye(8, dtype=np.float32),
}


def test_the_time_embedding_stays_in_fp32_back_to_its_input() -> None:
    kept = decided(graph(EMBEDDING, EMBEDDING_CONSTANTS), {"t": np.ones(2, np.float32)}).kept
    assert set(kept) == {"/p", "/u", "/a", "/s"}
    assert "phase of up to 1000 rad" in kept["/s"]


def test_a_small_phase_is_lowered_in_fp16_but_not_in_bf16() -> None:
    constants = {**EMBEDDING_CONSTANTS, "thousand": np.float32(0.5)}
    sample = {"t": np.ones(2, np.float32)}
    assert decided(graph(EMBEDDING, constants), sample).kept == {}
    assert "/s" in decided(graph(EMBEDDING, constants), sample, target=Target.bf16).kept


def test_positions_stay_in_fp32_for_any_calibration() -> None:
    text = "g (float[4] x) => (float[4] y) { n = Shape(x)  f = Cast<to=1>(n)  y = Mul(x, f) }"
    kept = decided(graph(text), {"x": np.ones(4, np.float32)}).kept
    assert kept["/f"] == "integers are exact up to 2048 only in FLOAT16"
    text = "g (float[4] x, bool[4] m) => (float[4] y) { f = Cast<to=1>(m)  y = Mul(x, f) }"
    assert decided(graph(text), {"x": np.ones(4, np.float32), "m": np.ones(4, np.bool_)}).kept == {}


ATTENTION = """
attention (float[2, T, 8] q, float[2, 1, T] mask) => (float[2, T, 8] y) {
  k = Transpose<perm=[0, 2, 1]>(q)
  qk = MatMul(q, k)
  hidden = Sub(one, mask)
  bias = Mul(hidden, large)
  s = Add(qk, bias)
  p = Softmax(s)
  y = MatMul(p, q)
}
"""


def attention_sample(scale: float = 1.0) -> dict[str, np.ndarray]:
    mask = np.ones((2, 1, 6), np.float32)
    mask[1, :, 3:] = 0
    values = np.random.default_rng(0).standard_normal((2, 6, 8)).astype(np.float32)
    return {"q": values * np.float32(scale), "mask": mask}


@pytest.mark.parametrize("large", [-1e10, -3.4028235e38, -30000.0, -1e4])
@pytest.mark.parametrize("target", [Target.fp16, Target.bf16])
def test_attention_with_an_additive_mask_stays_in_one_type(large: float, target: Target) -> None:
    model = graph(ATTENTION, {"one": np.float32(1), "large": np.float32(large)})
    decisions = decided(model, attention_sample(), target=target)
    assert decisions.kept == {}
    limit = decisions.clipped["large"]
    assert limit == (abs(large) if abs(large) <= -2 * decisions.storage.masked else -decisions.storage.masked)


def test_an_infinite_mask_becomes_finite() -> None:
    text = ATTENTION.replace("hidden = Sub(one, mask)", "seen = Greater(mask, zero)").replace(
        "bias = Mul(hidden, large)", "bias = Where(seen, zero, large)"
    )
    model = graph(text, {"zero": np.float32(0), "large": np.float32(-np.inf)})
    decisions = decided(model, attention_sample())
    assert decisions.kept == {}
    assert decisions.clipped == {"large": 16384.0}


def test_a_constant_with_another_use_is_no_mask() -> None:
    text = ATTENTION.replace("y = MatMul(p, q)", "z = MatMul(p, q)  y = Mul(z, large)")
    decisions = decided(graph(text, {"one": np.float32(1), "large": np.float32(-1e10)}), attention_sample())
    assert "large" not in decisions.clipped
    assert {"/bias", "/s", "/p", "/y"} <= set(decisions.kept)


def test_large_scores_keep_the_nodes_from_the_product_to_the_softmax() -> None:
    model = graph(ATTENTION, {"one": np.float32(1), "large": np.float32(-1e4)})
    kept = decided(model, attention_sample(8.0)).kept
    assert {"/qk", "/s", "/p"} <= set(kept)
    assert "scores of up to" in kept["/p"]
    assert "/y" not in kept


NORM = """
norm (float[2, 16] x) => (float[2, 16] y) {
  m = ReduceMean(x, axis)
  d = Sub(x, m)
  q = Pow(d, two)
  v = ReduceMean(q, axis)
  e = Add(v, eps)
  r = Sqrt(e)
  y = Div(d, r)
}
"""


def test_all_nodes_of_a_decomposed_normalisation_stay_in_fp32() -> None:
    constants = {"axis": np.array([-1]), "two": np.float32(2), "eps": np.float32(1e-5)}
    sample = {"x": np.random.default_rng(0).standard_normal((2, 16)).astype(np.float32)}
    assert set(decided(graph(NORM, constants), sample).kept) == {"/m", "/d", "/q", "/v", "/e", "/r", "/y"}


FAST_NORM = """
norm (float[2, 16] x) => (float[2, 16] y) {
  s = ReduceSum(x, axis)
  m = Mul(s, share)
  q = Mul(x, x)
  t = ReduceSum(q, axis)
  w = Mul(t, share)
  p = Mul(m, m)
  v = Sub(w, p)
  c = Max(v, zero)
  e = Add(c, eps)
  r = Sqrt(e)
  d = Sub(x, m)
  y = Div(d, r)
}
"""


def test_a_variance_as_a_difference_of_means_stays_in_fp32() -> None:
    """Flax computes it so, for instance in magika: beside a large mean, the variance would be rounding errors."""
    constants = {"axis": np.array([-1]), "share": np.float32(1 / 16), "zero": np.float32(0), "eps": np.float32(1e-6)}
    sample = {"x": 20 + np.random.default_rng(0).standard_normal((2, 16)).astype(np.float32)}
    kept = set(decided(graph(FAST_NORM, constants), sample).kept)
    assert {"/s", "/m", "/q", "/t", "/w", "/p", "/v", "/c", "/e", "/r", "/y"} <= kept


def test_the_search_for_a_variance_reads_each_node_once() -> None:
    """Each step reads the value of the step before it twice, so 40 steps have 2^40 paths."""
    steps = [f"s{n} = Mul(v{n - 1}, c)  v{n} = Sub(v{n - 1}, s{n})" for n in range(1, 41)]
    text = f"g (float[4] v0) => (float[4] y) {{ {'  '.join(steps)}  y = Sqrt(v40) }}"
    assert "/y" not in decided(graph(text, {"c": np.float32(0.01)}), {"v0": np.ones(4, np.float32)}).kept


def test_layer_normalization_is_lowered_unless_its_input_is_too_large() -> None:
    text = "g (float[2, 16] x) => (float[2, 16] y) { y = LayerNormalization<axis=-1>(x, w) }"
    ones = {"w": np.ones(16, np.float32)}
    values = np.random.default_rng(0).standard_normal((2, 16)).astype(np.float32)
    assert decided(graph(text, ones), {"x": values}).kept == {}
    kept = decided(graph(text, ones), {"x": values * np.float32(5e4)}).kept
    assert kept["/y"].startswith("reads x, up to")


def test_exponentials_and_powers_need_a_margin_for_larger_inputs() -> None:
    for op, at, steep in (("Exp(x)", 5.0, 6.0), ("Softplus(x)", 11.0, 11.2), ("Pow(x, three)", 20.0, 21.0)):
        text = f"g (float[1] x) => (float[1] y) {{ y = {op} }}"
        constants = {"three": np.float32(3)} if "three" in op else {}
        assert decided(graph(text, constants), {"x": np.float32([at])}).kept == {}, op
        assert "/y" in decided(graph(text, constants), {"x": np.float32([steep])}).kept, op


def test_a_bound_on_a_kept_exponential_is_applied_before_the_result_is_stored() -> None:
    """In fp16 the exponential would be infinite where the bound makes it 100."""
    text = "g (float[1] x) => (float[1] z) { y = Exp(x)  z = Min(y, hundred) }"
    for at, kept in ((6.0, {"/y", "/z"}), (2.0, set())):
        found = decided(graph(text, {"hundred": np.float32(100)}), {"x": np.float32([at])}).kept
        assert set(found) == kept


def test_a_range_beyond_the_type_keeps_the_node_and_names_the_tensor() -> None:
    text = "g (float[1] x) => (float[1] y) { a = Mul(x, x)  b = Relu(a)  y = Tanh(b) }"
    kept = decided(graph(text), {"x": np.float32([200])}).kept
    assert kept["/a"] == "makes a, up to 4e+04, above data_max 16384"
    assert set(kept) == {"/a", "/b", "/y"}
    assert decided(graph(text), {"x": np.float32([200])}, data_max=5e4).kept == {}
    assert set(decided(graph(text), {"x": np.float32([200])}, target=Target.bf16).kept) == set()


def test_values_below_the_normal_numbers_stay_in_fp32() -> None:
    text = "g (float[1] x) => (float[1] y) { a = Mul(x, x)  y = Sqrt(a) }"
    assert "below the normal numbers" in decided(graph(text), {"x": np.float32([1e-3])}).kept["/a"]


def test_partial_sums_of_constant_weights_are_bounded_in_fp16_only() -> None:
    weights = np.tile(np.float32([[40.0], [-40.0]]), (32, 1))  # cancels in the result, not in the intermediate values
    text = "g (float[1, 64] x) => (float[1, 1] y) { y = MatMul(x, w) }"
    sample = {"x": np.full((1, 64), 50, np.float32)}
    assert "partial sums of up to 1.28e+05" in decided(graph(text, {"w": weights}), sample).kept["/y"]
    assert decided(graph(text, {"w": weights}), sample, target=Target.bf16).kept == {}
    assert decided(graph(text, {"w": weights / 4}), sample).kept == {}


def test_constants_that_overflow_or_vanish_keep_their_node() -> None:
    text = "g (float[2] x) => (float[2] y) { y = Add(x, c) }"
    sample = {"x": np.float32([1, -7e4])}
    assert "init_max 65504" in decided(graph(text, {"c": np.float32([7e4, 7e4])}), sample).kept["/y"]
    sample = {"x": np.float32([1, 2])}
    assert "init_min" in decided(graph(text, {"c": np.float32(1e-6)}), sample).kept["/y"]
    assert decided(graph(text, {"c": np.float32(1e-6)}), sample, init_min=0.0).kept == {}
    assert "init_max 0.5" in decided(graph(text, {"c": np.float32(1)}), sample, init_max=0.5).kept["/y"]


def test_patterns_match_name_module_and_operator() -> None:
    text = "g (float[2] x) => (float[2] y) { a = Relu(x)  y = Tanh(a) }"
    sample = {"x": np.float32([1, 2])}
    for pattern, node in (("/a", "/a"), ("Tanh", "/y"), ("/[y]", "/y")):
        assert decided(graph(text), sample, keep_fp32=(pattern,)).kept == {node: f"precision.keep_fp32={pattern}"}
    model = graph(text)
    model.graph[0].name = "/blocks.3/act/Relu"
    assert set(decided(model, sample, keep_fp32=("blocks.3.*",)).kept) == {"/blocks.3/act/Relu"}
    with pytest.raises(PrecisionError, match="'Gelu', which matches no node"):
        decided(graph(text), sample, keep_fp32=("Gelu",))


def test_mixed_lowers_products_only_and_keeps_the_interface() -> None:
    model = graph(ATTENTION, {"one": np.float32(1), "large": np.float32(-1e4)})
    decisions = decided(model, attention_sample(), target=Target.mixed)
    assert not decisions.match_io
    assert set(decisions.kept) == {"/k", "/hidden", "/bias", "/s", "/p"}


def test_cheap_nodes_between_kept_nodes_are_kept() -> None:
    text = "g (float[2] x) => (float[2] y) { a = Mul(x, x)  b = Neg(a)  c = Add(b, a)  y = Tanh(c) }"
    kept = decided(graph(text), {"x": np.float32([1, 2])}, keep_fp32=("/a", "/c")).kept
    assert kept["/b"] == "is between nodes that stay in fp32"
    assert "/y" not in kept


def test_with_a_float32_interface_kept_regions_extend_to_the_inputs() -> None:
    text = "g (float[2] x) => (float[2] y) { a = Neg(x)  b = Mul(a, a)  y = Tanh(b) }"
    sample = {"x": np.float32([1, 2])}
    assert set(decided(graph(text), sample, keep_fp32=("/b",)).kept) == {"/b"}
    assert set(decided(graph(text), sample, keep_fp32=("/b",), io=InputOutput.keep).kept) == {"/a", "/b", "/y"}


def test_bfloat16_needs_opset_22_and_gets_it() -> None:
    text = "g (float[1, 2, 8] x) => (float[1, 2, 8] y) { y = Conv(x, w) }"
    weights = {"w": np.ones((2, 2, 1), np.float32)}
    model = graph(text, weights)
    assert decided(model, {"x": np.ones((1, 2, 8), np.float32)}, target=Target.bf16).kept == {}
    assert model.opset_imports[""] == 22
    kept = decided(graph(text, weights, opset=17), {"x": np.ones((1, 2, 8), np.float32)}, target=Target.bf16).kept
    assert kept == {"/y": "Conv of opset 17 has no BFLOAT16 variant"}


def test_a_tensor_without_a_range_stays_in_fp32() -> None:
    model = graph("g (float[2] x) => (float[2] y) { y = Tanh(x) }")
    prepare(model, FP16)
    decisions = decide(model, Ranges({"x": Range(0, 1)}, {}), PrecisionSettings(target=Target.fp16))
    assert decisions.kept == {"/y": "makes y, whose range was not measured"}


def test_a_graph_that_gives_nan_is_refused_with_the_name_of_the_node() -> None:
    model = graph("g (float[2] x) => (float[2] y) { a = Log(x)  y = Tanh(a) }")
    prepare(model, FP16)
    with pytest.raises(PrecisionError, match="NaN in a, made by Log /a"):
        measure_ranges(model, [{"x": np.float32([1, -1])}])


def test_the_limits_of_the_storage_types_are_right() -> None:
    assert (FP16.step(1000), FP16.step(1.0), FP16.exact_integers, FP16.masked) == (0.5, 2**-10, 2048, -16384)
    assert (BF16.step(1000), BF16.exact_integers) == (4.0, 256)
    assert math.isclose(BF16.max, 3.3895314e38, rel_tol=1e-7)
    assert np.finfo(np.float16).max == FP16.max
    assert float(np.finfo(np.float16).smallest_normal) == FP16.smallest_normal
    assert float(np.finfo(np.float16).smallest_subnormal) == FP16.smallest
