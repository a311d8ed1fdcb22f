"""A part of ONNX's own cases of single operators is lowered: no case crashes, and none is silently wrong.

`python benchmarks/backend_cases.py` lowers all of them and writes the table of docs/verification.md.
"""

from __future__ import annotations

import collections
import itertools
from pathlib import Path

import pytest

from benchmarks.backend_cases import TARGETS, Case, judged, runnable

NAMES = (
    "test_ai_onnx_ml_array_feature_extractor",  # a domain beside the default one
    "test_attention_4d_with_past_and_present",
    "test_bitcast_2d_float32_to_int32",
    "test_clip_default_inbounds",  # optional inputs are left out
    "test_isnan",
    "test_gather_elements_0",
    "test_group_normalization_epsilon",
    "test_gru_defaults",
    "test_isinf",  # values that are not finite
    "test_layer_normalization_4d_axis1",
    "test_lstm_with_initial_bias",
    "test_max_float16",  # float16 inputs of its own
    "test_max_int64",
    "test_nonzero_example",
    "test_pow_types_float32_int64",
    "test_prelu_broadcast_expanded",
    "test_ai_onnx_ml_tree_ensemble_single_tree",
    "test_reduce_max_empty_set",
    "test_resize_upsample_scales_linear",
    "test_reshape_zero_dim",
    "test_scatternd_add",  # a reduction
    "test_scatternd_max",
    "test_simple_rnn_defaults",
    "test_softmax_large_number",
    "test_top_k_smallest",
    "test_where_example",
)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    place = tmp_path_factory.mktemp("cases")
    return list(runnable("", place, NAMES))


def test_a_part_of_the_cases_of_onnx_is_lowered(cases: list[Case], tmp_path: Path) -> None:
    verdicts = [judged(case, target, tmp_path) for case, target in itertools.product(cases, TARGETS)]
    bad = [one for one in verdicts if one.word in ("crashed", "wrong")]
    assert bad == []
    count = collections.Counter(one.word for one in verdicts)
    assert count["right"] > 0.8 * len(verdicts)
    assert len(cases) > 0.8 * len(NAMES), "onnxruntime computes these cases"
