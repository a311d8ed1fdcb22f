"""`benchmark`: timing of the artifacts on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cosybuild.config.groups.field import setting
from cosybuild.config.groups.verify import Provider


class Point(str, Enum):
    """A size in the range of a profile at which artifacts are timed."""

    min = "min"
    opt = "opt"
    max = "max"


@dataclass(frozen=True)
class BenchmarkSettings:
    """Settings of the timing: what is timed, at which sizes, and when it ends. They never change an artifact."""

    points: tuple[Point, ...] = setting(tuple, "The sizes of the first profile that are timed; empty: opt.")
    lengths: tuple[int, ...] = setting(tuple, "Further sizes to time, for every dynamic axis except the batch.")
    batches: tuple[int, ...] = setting(
        tuple, "The batch sizes to time if the batch is dynamic; empty: the profile's min."
    )
    eager: bool = setting(True, "Time PyTorch in eager mode.")
    compile: bool = setting(False, "Also time torch.compile; compilation takes minutes and needs a C++ compiler.")
    provider: Provider = setting(
        Provider.auto, "The execution provider of ONNX Runtime; auto: CUDA if it loads, else CPU."
    )
    threads: int = setting(1, "The number of CPU threads of PyTorch and ONNX Runtime; 0: one for each core.")
    confidence: float = setting(
        0.95, "The confidence level of each interval, and of all comparisons at one size together."
    )
    half_width: float = setting(0.02, "Measuring stops when the interval of every median has this relative half-width.")
    margin: float = setting(0.01, "Two runners count as equally fast if their times differ by less than this fraction.")
    max_seconds: float = setting(30.0, "The longest time for one size, for all runners together, without the warm-up.")
    warmup_seconds: float = setting(0.5, "The warm-up time of each runner at each size; it has at least two calls.")
    min_rounds: int = setting(8, "The smallest number of rounds; comparisons of ten pairs need ten.")
    max_rounds: int = setting(500, "The largest number of rounds.")
