"""The nodes of the exported and simplified graphs of the estimators."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosybuild.config.groups.export import Attention
from cosybuild.onnxgraph.files import load_structure
from cosybuild.onnxgraph.summary import count_ops
from tests.stages.building import TINY, Bench, full_size, graph_of, tiny


def simplified_ops(bench: Bench) -> dict[str, int]:
    return count_ops(load_structure(graph_of(bench.simplify(graph_of(bench.export()))).path))


@pytest.mark.parametrize("family", TINY)
def test_the_graph_has_only_standard_operators_without_decompositions(family: str, tmp_path: Path) -> None:
    ops = simplified_ops(Bench(tiny(family, opset=20), tmp_path))
    assert not [op for op in ops if "::" in op], "operators of other domains"
    # At least one runtime refuses these operators, or runs them slower than those that they replace.
    assert not {"Attention", "Einsum"} & set(ops)
    # Each is one node of the standard.
    assert ops["Mish"] > 0
    assert not {"Softplus", "Erf", "Pad", "If", "Loop"} & set(ops)
    # `Shape` appears only where the function needs a size (frames of a skip, positions), not in each block.
    assert ops.get("Shape", 0) <= 2
    assert ops.get("Cast", 0) <= 2


@pytest.mark.parametrize("family", ["cosyvoice1", "cosyvoice2"])
def test_a_block_has_one_projection_one_split_and_one_mask(family: str, tmp_path: Path) -> None:
    ops = simplified_ops(Bench(tiny(family), tmp_path))
    blocks = ops["Softmax"]
    assert ops["MatMul"] == 3 * blocks, "q/k/v together, the scores, the values"
    # One more computes the time of all stages.
    assert ops["Split"] == blocks + 1
    # One bias for each resolution.
    assert ops["ReduceMax"] == (1 if family == "cosyvoice2" else 2)


@pytest.mark.full_size
@pytest.mark.parametrize(
    ("opset", "attention", "most"),
    [
        (18, Attention.spelled, 1700),
        (20, Attention.spelled, 1450),
        (23, Attention.spelled, 1450),
        (23, Attention.operator, 1250),
    ],
)
def test_the_full_size_graph_of_cosyvoice2_has_few_nodes(
    opset: int, attention: Attention, most: int, tmp_path: Path
) -> None:
    ops = simplified_ops(Bench(full_size("cosyvoice2", opset=opset, attention=attention), tmp_path))
    assert sum(ops.values()) <= most
