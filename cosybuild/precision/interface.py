"""The type of a lowered graph's inputs and outputs. Imports no onnx."""

from __future__ import annotations

from cosybuild.config.groups.precision import InputOutput, PrecisionSettings, Target
from cosybuild.models.spec import ModelSpec

_NARROW = {Target.fp16: "float16", Target.bf16: "bfloat16"}


def interface_dtype(settings: PrecisionSettings, spec: ModelSpec | None = None) -> str:
    """Return the common type of all floating-point inputs and outputs, e.g. `float16`.

    Args:
        settings: the settings of the configuration group `precision`.
        spec: the model's specification, which can demand float32; None if there is none.
    """
    if settings.io is InputOutput.keep or (spec is not None and spec.float32_io):
        return "float32"
    return _NARROW.get(settings.target, "float32")
