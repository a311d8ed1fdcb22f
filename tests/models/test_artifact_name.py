"""The file names that runtimes look for (docs/contract.md)."""

from __future__ import annotations

import pytest

from cosybuild.models.artifact_name import artifact_name
from tests.models.fixtures import tiny_subject

NAMES = [
    (False, "fp32", ".onnx", False, "flow.decoder.estimator.fp32.onnx"),
    (False, "fp32", ".onnx", True, "flow.decoder.estimator.fp32.dynamic_batch.onnx"),
    (True, "fp32", ".onnx", False, "flow.decoder.estimator.streaming.fp32.onnx"),
    (False, "autocast_fp16", ".onnx", False, "flow.decoder.estimator.autocast_fp16.onnx"),
    (True, "autocast_fp16", ".onnx", False, "flow.decoder.estimator.streaming.autocast_fp16.onnx"),
    (False, "fp16", ".mygpu.plan", False, "flow.decoder.estimator.fp16.mygpu.plan"),
    (False, "fp16", ".l20.plan", True, "flow.decoder.estimator.fp16.dynamic_batch.l20.plan"),
    (True, "autocast_fp16", ".0.plan", False, "flow.decoder.estimator.streaming.autocast_fp16.0.plan"),
]


@pytest.mark.parametrize(("streaming", "precision", "suffix", "dynamic_batch", "expected"), NAMES)
def test_artifacts_have_the_names_that_runtimes_expect(
    streaming: bool, precision: str, suffix: str, dynamic_batch: bool, expected: str
) -> None:
    assert artifact_name(tiny_subject(2, streaming=streaming), precision, suffix, dynamic_batch) == expected


def test_the_name_of_the_user_replaces_the_stem() -> None:
    assert artifact_name(tiny_subject(3, name="decoder")) == "decoder.fp32.onnx"
