"""`trt`: the build of engines of the TensorRT family."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cosybuild.config.groups.field import setting


class TrtBackend(str, Enum):
    """The library of the TensorRT family that builds."""

    auto = "auto"
    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt_rtx"


class Typing(str, Enum):
    """The source of the layers' types: the graph (strong), or the builder under a flag (weak)."""

    strong = "strong"
    weak = "weak"


class HardwareCompatibility(str, Enum):
    """The other GPUs on which a TensorRT plan must also load."""

    none = "none"
    same_compute_capability = "same_compute_capability"
    ampere_plus = "ampere_plus"


class Refit(str, Enum):
    """The weights that can be replaced in the built engine."""

    none = "none"
    full = "full"
    identical = "identical"


class Unmet(str, Enum):
    """The reaction to an engine that misses a requirement."""

    fail = "fail"
    warn = "warn"


@dataclass(frozen=True)
class TrtSettings:
    """Settings of the engine builder. The precision is the graph's own (group `precision`)."""

    precision: str | None = setting(
        None, "What the chosen option stands for; the group precision must say the same. null: whatever it says."
    )
    optional: bool = setting(
        False, "Build an engine only where this machine can; else the run ends without one and is not pending."
    )
    backend: TrtBackend = setting(
        TrtBackend.auto, "auto: tensorrt where it is installed and there is a GPU, else tensorrt_rtx."
    )
    typing: Typing = setting(
        Typing.strong, "strong: types as in the graph; weak: TensorRT 10 chooses under BuilderFlag.FP16 or BF16."
    )
    sm: tuple[int, ...] = setting(
        tuple, "Compute capabilities times ten, one engine each; empty: the GPU here, 89 where there is none."
    )
    workspace_gib: float = setting(4.0, "Most scratch memory a kernel may take, in GiB.")
    optimization_level: int | None = setting(None, "Builder optimisation level 0 to 5; null: the builder's default.")
    timing_cache: bool | None = setting(
        None, "Keep measured kernel times beside the store; null: where the backend measures any."
    )
    hardware_compatibility: HardwareCompatibility = setting(
        HardwareCompatibility.none, "TensorRT: also load on other GPUs, at some cost in speed."
    )
    version_compatible: bool = setting(False, "TensorRT: also load with later versions, at some cost in speed.")
    refit: Refit = setting(Refit.none, "Let weights be replaced: full by any, identical by the same ones.")
    strip: bool = setting(False, "Leave refittable weights out of the file; they are refitted before use.")
    tactic_sources: tuple[str, ...] | None = setting(
        None, "Kernel libraries the builder may take, by their TacticSource name in lower case; null: its default."
    )
    max_fp32_share: float = setting(
        0.5, "Largest share of matrix arithmetic that may be in fp32 where a smaller precision was asked for."
    )
    on_unmet: Unmet = setting(
        Unmet.fail, "fail or warn where the share is exceeded or attention does not fuse in a smaller precision."
    )
