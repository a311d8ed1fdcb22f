from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.precision.graphs import decided, graph

SCALAR = """
g (float[1, T, 16] x, float[16, 16] early, float[16, 8] late, float[8] powers) => (int32[1, T] y)
{
    before = MatMul(x, early)
    hidden = Tanh(before)
    projected = MatMul(hidden, late)
    bounded = Tanh(projected)
    level = Round(bounded)
    weighted = Mul(level, powers)
    axis = Constant<value = int64[1] {2}>()
    total = ReduceSum<keepdims = 0>(weighted, axis)
    y = Cast<to = 6>(total)
}
"""
NEAREST = """
g (float[1, T, 16] x, float[16, 16] early, float[16, 32] book, float[32] norms, float two) => (int64[1, T] y)
{
    branch = MatMul(x, early)
    hidden = Add(branch, x)
    twice = Mul(hidden, two)
    product = MatMul(twice, book)
    square = Mul(hidden, hidden)
    axis = Constant<value = int64[1] {2}>()
    length = ReduceSum<keepdims = 1>(square, axis)
    first = Sub(product, length)
    nearness = Sub(first, norms)
    y = ArgMax<axis = 2, keepdims = 0>(nearness)
}
"""


def drawn(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


@pytest.mark.parametrize("target", ["fp16", "bf16"])
def test_the_sum_of_levels_is_kept_from_the_last_product_on(target: str) -> None:
    constants = {
        "early": drawn(16, 16),
        "late": drawn(16, 8),
        "powers": np.float32(3) ** np.arange(8, dtype=np.float32),
    }
    kept = decided(graph(SCALAR, constants), {"x": drawn(1, 9, 16)}, target=target).kept
    assert {"/projected", "/bounded", "/level", "/weighted", "/total", "/y"} <= set(kept)
    assert not {"/before", "/hidden"} & set(kept)


def test_a_search_is_kept_from_its_data_on() -> None:
    constants = {"early": drawn(16, 16), "book": drawn(16, 32), "norms": drawn(32), "two": np.float32(2)}
    kept = decided(graph(NEAREST, constants), {"x": drawn(1, 9, 16)}).kept
    assert {"/product", "/square", "/length", "/first", "/nearness", "/y"} <= set(kept)
    assert not {"/branch", "/hidden"} & set(kept), "the layer before it is not arithmetic of the index"
