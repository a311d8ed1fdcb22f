"""Graphs that compute in another type than float32 before they are lowered, and graphs of old opsets."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from cosybuild.config.groups.precision import Target
from cosybuild.errors import PrecisionError
from cosybuild.precision.graph import opset_of, prepare
from cosybuild.precision.storage import BF16, FP16, Storage
from tests.precision.graphs import checked, decided, graph

WEIGHTS = np.eye(4) * 0.5
PRODUCT = "g ({0}[2, 4] x) => ({0}[2, 4] y) {{ y = MatMul(x, w) }}"


@pytest.mark.parametrize("opset", [9, 11, 12])
def test_an_opset_in_which_casts_have_no_bfloat16_is_raised(opset: int) -> None:
    model = graph(PRODUCT.format("float"), {"w": WEIGHTS.astype(np.float32)}, opset=opset)
    lowered = checked(model, decided(model, {"x": np.ones((2, 4), np.float32)}, target=Target.bf16)).model
    assert opset_of(lowered) == 22
    assert {value.dtype for value in (*lowered.graph.inputs, *lowered.graph.outputs)} == {ir.DataType.BFLOAT16}


def test_an_opset_that_cannot_be_raised_is_named() -> None:
    """ONNX removed the operator Affine, so that no later opset has it."""
    model = graph("g (float[1, 4] x) => (float[1, 4] y) { y = Affine <alpha=1.0, beta=0.0> (x) }", opset=7)
    with pytest.raises(PrecisionError, match=r"has opset 7, in which Cast has no bfloat16") as refused:
        prepare(model, BF16)
    assert "precision=fp16" in refused.value.hint


@pytest.mark.parametrize(
    ("kind", "dtype", "storage", "said"),
    [
        ("float16", np.float16, BF16, "computes in float16 already: x has this type"),
        ("double", np.float64, FP16, "computes in float64 and has no float32 tensor"),
    ],
)
def test_a_graph_of_another_type_is_not_named_after_the_target(
    kind: str, dtype: type, storage: Storage, said: str
) -> None:
    model = graph(PRODUCT.format(kind), {"w": WEIGHTS.astype(dtype)})
    with pytest.raises(PrecisionError, match=said) as refused:
        prepare(model, storage)
    assert "precision=fp32" in refused.value.hint


def test_a_graph_that_has_the_target_already_is_accepted() -> None:
    prepare(graph(PRODUCT.format("float16"), {"w": WEIGHTS.astype(np.float16)}), FP16)


def test_a_quantized_operator_of_a_runtime_is_named_with_the_next_command() -> None:
    """onnxruntime.quantization makes DynamicQuantizeLSTM, whose outputs ONNX cannot type."""
    model = graph("g (float[2, 4] x) => (float[2, 4] y) { h = DynamicQuantizeLSTM (x)  y = Identity(h) }")
    node = model.graph[0]
    node.domain = "com.microsoft"
    with pytest.raises(PrecisionError, match=r"DynamicQuantizeLSTM .* computes with 8-bit weights") as refused:
        prepare(model, FP16)
    assert "precision=fp32" in refused.value.hint
    assert "before its quantization" in refused.value.hint
