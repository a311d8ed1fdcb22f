"""Contradictions are refused, and the error names both sides."""

from __future__ import annotations

import pytest

from cosybuild.errors import ConfigurationError
from tests.config.composing import settings_of

MODULE = (
    "model=module",
    "model.target={_target_: torch.nn.Identity}",
    "model.inputs=[{name: x, shape: [1]}]",
    "model.outputs=[{name: y, shape: [1]}]",
)


def test_consistent_settings_pass() -> None:
    assert settings_of(*MODULE).model.target == {"_target_": "torch.nn.Identity"}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("export.opset=16",), "export.opset=16 is not supported; expected 17 to 23"),
        (("export.opset=24",), "expected 17 to 23"),
        (("export=opset17", "export.exporter=dynamo"), "cannot write opset 17"),
        (("export.attention=operator",), "at opset 18: ONNX has the operator Attention since opset 23"),
        (("export.attention=operator", "export=opset23", "export.exporter=dynamo"), "with export.exporter=dynamo"),
        ((*MODULE, "export.attention=operator", "export=opset23"), "with model=module"),
        (("model=module",), "needs model.target"),
        (("model=onnx",), "needs model.path"),
        ((*MODULE, "model_dir=/models/a"), "model_dir=/models/a .* reads its model from model.target"),
        ((*MODULE, "model.inputs=[]"), "declares 0 inputs and 1 outputs"),
        (("model=cosyvoice2", "model.path=a.onnx"), "model.path is set, but model.family=cosyvoice2"),
        (("model=cosyvoice2", "model.target={_target_: a.B}"), "model.target is set"),
        (("verify.rtol=1",), "verify.rtol=1.0 is not a tolerance"),
        (("verify.atol=-1e-3",), "verify.atol=-0.001 is not a tolerance"),
        (("vocoder.f0=float64",), "TensorRT would compute float64 in float32"),
        (("verify.threads=0",), "verify.threads=0; expected at least 1"),
    ],
)
def test_the_error_names_contradicting_settings(overrides: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        settings_of(*overrides)


def test_the_rules_hold_for_every_option_of_every_group() -> None:
    for override in ("export=opset17", "export=opset20", "verify=off", "trt_profile=long", "trt_profile=streaming"):
        settings_of(override)
