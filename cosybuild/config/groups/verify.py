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
    """Which cases are compared, where, and how close they must be: |a - b| <= atol + rtol * |b|."""

    mode: VerifyMode = setting(VerifyMode.strict, "strict: every corner; upstream: ten random lengths in 16..512.")
    rtol: float = setting(1e-4, "Relative tolerance.")
    atol: float = setting(1e-5, "Absolute tolerance, in the output's units.")
    seed: int = setting(0, "Seed of all generated inputs.")
    threads: int = setting(1, "ONNX Runtime's intra_op_num_threads.")
    provider: Provider = setting(Provider.auto, "auto: CUDA where it really loads, else CPU.")
