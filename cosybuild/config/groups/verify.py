"""`verify`: the artifact against PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cosybuild.config.groups.field import setting


class VerifyMode(str, Enum):
    """Which cases are compared."""

    strict = "strict"
    upstream = "upstream"


class Provider(str, Enum):
    """Where ONNX Runtime computes."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


@dataclass(frozen=True)
class VerifySettings:
    """Which cases are compared, where, and how close they must be.

    Each element: |a - r| <= atol + rtol * |r|, where `strict` multiplies atol by the output's root mean
    square if that exceeds 1; each output: at least `snr_db`. Measured against PyTorch in float32, ONNX
    Runtime on one CPU thread, opset 18, simplified: the worst of 1346 cases of twelve seeds on the three
    tiny models, full and streaming, batch 2 to 32, was 103 dB and, besides rtol 1e-4, an atol of 5.4e-5 (the
    guidance rows of CosyVoice 1, whose normalisations see almost no variance there). The smallest planted
    faults that rounding does not drown (one weight scaled by 1.001, an epsilon of 1e-6 for 1e-5) give 89 dB
    or less.
    """

    mode: VerifyMode = setting(VerifyMode.strict, "strict: every corner; upstream: ten random lengths in 16..512.")
    rtol: float = setting(1e-4, "Relative tolerance of each element.")
    atol: float = setting(3e-4, "Absolute tolerance of each element, in the output's units.")
    snr_db: float | None = setting(94.0, "Smallest signal-to-noise ratio of each output, in dB; null asks for none.")
    seed: int = setting(0, "Seed of all generated inputs.")
    threads: int = setting(1, "ONNX Runtime's intra_op_num_threads.")
    provider: Provider = setting(Provider.auto, "auto: CUDA where it really loads, else CPU.")
