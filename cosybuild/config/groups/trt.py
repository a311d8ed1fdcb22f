"""`trt`: the build of engines with TensorRT or TensorRT-RTX."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cosybuild.config.groups.field import setting


class TrtBackend(str, Enum):
    """The library that builds the engine."""

    auto = "auto"
    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt_rtx"


class Typing(str, Enum):
    """The source of the types in which layers compute: the graph (strong), or the builder under a flag (weak)."""

    strong = "strong"
    weak = "weak"


class HardwareCompatibility(str, Enum):
    """The further GPUs on which an engine of TensorRT must load."""

    none = "none"
    same_compute_capability = "same_compute_capability"
    ampere_plus = "ampere_plus"


class Refit(str, Enum):
    """The weights that can be replaced in a built engine."""

    none = "none"
    full = "full"
    identical = "identical"


class Unmet(str, Enum):
    """The reaction to an artifact that misses a requirement: an error or a warning."""

    fail = "fail"
    warn = "warn"


@dataclass(frozen=True)
class TrtSettings:
    """Settings of the engine builder. The group `precision` determines the precision."""

    precision: str | None = setting(
        None, "The precision of the chosen option, which must agree with the group precision; null: that of the group."
    )
    optional: bool = setting(False, "Skip the engine if this machine cannot build it; the run is then not pending.")
    backend: TrtBackend = setting(
        TrtBackend.auto, "The library; auto: tensorrt if it is installed and there is a GPU, else tensorrt_rtx."
    )
    typing: Typing = setting(
        Typing.strong,
        "strong: the types of the graph; weak: TensorRT 10 chooses the types, with BuilderFlag.FP16 or BF16.",
    )
    sm: tuple[int, ...] = setting(
        tuple,
        "Compute capabilities times ten, with one engine for each; empty: the GPU of this machine, or 89 "
        "without a GPU.",
    )
    workspace_gib: float = setting(4.0, "The largest scratch memory of a kernel, in GiB.")
    optimization_level: int | None = setting(
        None, "The optimisation level of the builder, 0 to 5; null: the builder's default."
    )
    timing_cache: bool | None = setting(
        None, "Keep measured kernel times beside the store; null: yes if the library measures kernels, else no."
    )
    hardware_compatibility: HardwareCompatibility = setting(
        HardwareCompatibility.none, "TensorRT: build an engine that loads on other GPUs too, at some cost in speed."
    )
    version_compatible: bool = setting(
        False, "TensorRT: build an engine that loads with later versions too, at some cost in speed."
    )
    refit: Refit = setting(
        Refit.none, "Allow the weights to be replaced; full: by any weights; identical: by the same weights."
    )
    strip: bool = setting(False, "Leave refittable weights out of the file; they must be refitted before use.")
    tactic_sources: tuple[str, ...] | None = setting(
        None,
        "The kernel libraries that the builder may use, by their TacticSource name in lower case; null: its default.",
    )
    max_fp32_share: float = setting(
        0.5, "In an engine of a smaller precision: the largest share of the matrix arithmetic that may be in fp32."
    )
    on_unmet: Unmet = setting(Unmet.fail, "fail or warn if max_fp32_share is exceeded.")
    on_unfused: Unmet = setting(Unmet.warn, "fail or warn if attention is not fused in a smaller precision.")
