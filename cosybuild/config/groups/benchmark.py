"""`benchmark`: timing of the artifacts on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cosybuild.config.groups.field import setting
from cosybuild.config.groups.verify import Provider


class Point(str, Enum):
    """A size of a profile."""

    min = "min"
    opt = "opt"
    max = "max"


@dataclass(frozen=True)
class BenchmarkSettings:
    """The runners and sizes that are timed, and when timing stops. They never change the artifacts."""

    points: tuple[Point, ...] = setting(tuple, "Sizes of the first profile that are timed; none: opt.")
    lengths: tuple[int, ...] = setting(tuple, "Further sizes of every dynamic axis but the batch.")
    batches: tuple[int, ...] = setting(tuple, "Batch sizes where the batch is dynamic; none: the profile's min.")
    eager: bool = setting(True, "Time PyTorch as it is.")
    compile: bool = setting(False, "Time torch.compile too; compiling takes minutes and a C++ compiler.")
    provider: Provider = setting(Provider.auto, "Where ONNX Runtime computes; auto: CUDA where it really loads.")
    threads: int = setting(1, "CPU threads of PyTorch and ONNX Runtime; 0: as many as there are cores.")
    confidence: float = setting(0.95, "Confidence of intervals, and of all verdicts of one size together.")
    half_width: float = setting(0.02, "Relative half-width of a median's interval at which measuring stops.")
    margin: float = setting(0.01, "Relative difference below which two things count as equally fast.")
    max_seconds: float = setting(30.0, "Longest time for one size, all that is compared together, without warm-up.")
    warmup_seconds: float = setting(0.5, "Warm-up of each at each size, at least two calls.")
    min_rounds: int = setting(8, "Fewest rounds; a verdict on ten pairs needs ten of them.")
    max_rounds: int = setting(500, "Most rounds.")
