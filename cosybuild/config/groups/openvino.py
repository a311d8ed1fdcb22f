"""`ov`: the build of an OpenVINO IR, which runs on CPUs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cosybuild.config.groups.field import setting
from cosybuild.config.groups.trt import Unmet

ARITHMETIC = "arithmetic"
"""The word in `ov.keep_fp32` that selects all operators except matrix products, softmax and data movement."""
PHASES = "phases"
"""The word in `ov.keep_fp32` that selects all operators that compute the arguments of sines.

An example is the estimator's embedding of the time.
"""


class OvPrecision(str, Enum):
    """The type in which OpenVINO computes matrix products and convolutions."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class OvWeights(str, Enum):
    """The type in which the IR stores its weights."""

    fp32 = "fp32"
    fp16 = "fp16"


@dataclass(frozen=True)
class OvSettings:
    """Settings of the OpenVINO IR. It is made from the float32 graph, so the group `precision` does not change it."""

    precision: OvPrecision = setting(
        OvPrecision.fp32,
        "The type in which OpenVINO computes; the layers of the compiled model are checked for it.",
    )
    keep_fp32: tuple[str, ...] = setting(
        tuple,
        "Glob patterns for names or types of operators that compute in float32; arithmetic: all except matrix "
        "products, convolutions, softmax and operators that only move data; phases: the arguments of sines.",
    )
    weights: OvWeights | None = setting(
        None, "The type in which the file stores weights; null: fp32 for precision fp32, else fp16."
    )
    snr_db: float | None = setting(
        None, "The smallest signal-to-noise ratio of each output, in dB; null: the gate of the precision."
    )
    max_fp32_share: float = setting(
        0.0, "For bf16 and fp16: the largest share of the layers with matrix products that may compute in float32."
    )
    on_unmet: Unmet = setting(
        Unmet.fail, "fail or warn if the compiled model computes in other types than the settings ask for."
    )
