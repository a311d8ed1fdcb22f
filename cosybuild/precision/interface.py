"""The type of a lowered graph's inputs and outputs; importable without onnx."""

from __future__ import annotations

from cosybuild.config.groups.precision import InputOutput, PrecisionSettings, Target
from cosybuild.models.spec import ModelSpec

_NARROW = {Target.fp16: "float16", Target.bf16: "bfloat16"}


def interface_dtype(settings: PrecisionSettings, spec: ModelSpec | None = None) -> str:
    """Return the type shared by all floating inputs and outputs, e.g. `float16`.

    Args:
        settings: the group `precision`.
        spec: the model's specification, which can require float32; None if no rule of a model applies.
    """
    if settings.io is InputOutput.keep or (spec is not None and spec.float32_io):
        return "float32"
    return _NARROW.get(settings.target, "float32")
