"""`verify`: comparison of the artifact with PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cosybuild.config.groups.field import setting


class VerifyMode(str, Enum):
    """The set of cases that are compared."""

    strict = "strict"
    upstream = "upstream"


class Provider(str, Enum):
    """The device on which ONNX Runtime computes."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class SolverPoint(str, Enum):
    """The length of an utterance that the solver runs on: 64 frames, or a size of the profile."""

    short = "short"
    opt = "opt"
    max = "max"


@dataclass(frozen=True)
class SolverCheck:
    """Gates of the estimator inside its solver: Euler steps with classifier-free guidance, as in the model directory.

    Every gate is a metric of docs/verification.md and its bound, measured on the mel after the last step.
    The same page says how the defaults were found.
    """

    points: tuple[SolverPoint, ...] = setting(
        lambda: (SolverPoint.short,), "Utterances: short is 64 frames; opt and max are the profile's."
    )
    lengths: tuple[int, ...] = setting(tuple, "Further utterances, in frames.")
    chunks: int = setting(2, "Streaming: chunks of the utterance, fed as growing prefixes; the last one is cut short.")
    step_snr_db: float = setting(90.0, "Smallest signal-to-noise ratio of the state after each step, in dB.")
    gates: dict[str, float] = setting(
        lambda: {"snr_db": 90.0, "mean_abs": 3.5e-5, "max_abs": 3e-4, "lsd_db": 4e-4, "cosine": 0.9999999},
        "Of a float32 artifact's mel: metric -> bound.",
    )
    lowered: dict[str, float] = setting(
        dict, "Of a lowered graph's or an engine's mel: metric -> bound; none: the precision's own."
    )


@dataclass(frozen=True)
class HopGates:
    """Gates of each hop from exact arithmetic to the artifact: metric -> bound."""

    torch: dict[str, float] = setting(lambda: {"snr_db": 94.0}, "PyTorch in float32 against float64.")
    export: dict[str, float] = setting(lambda: {"snr_db": 94.0}, "The exported graph against PyTorch.")
    simplify: dict[str, float] = setting(lambda: {"snr_db": 94.0}, "The simplified graph against the exported one.")
    engine: dict[str, float] = setting(
        dict, "The engine against PyTorch; none: what the precision it computes in is allowed."
    )


@dataclass(frozen=True)
class VerifySettings:
    """The cases that are compared, the runtime, and the tolerances.

    For each element: |a - r| <= atol + rtol * |r|, where `strict` multiplies atol by the output's root mean
    square if that exceeds 1; for each output: at least `snr_db`. Measured against PyTorch in float32, ONNX
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
    float64: bool = setting(False, "Compute the reference in float64 too, and hold PyTorch's float32 to it.")
    exhaustive: bool = setting(False, "Compare both sides of edges above 1024 frames too, and every case on every hop.")
    lengths: str | None = setting(
        None,
        "A file of real lengths, one or `length,count` a line, frames or with a unit; some of them are compared.",
        local=True,
    )
    solver: SolverCheck | None = setting(SolverCheck, "The whole solver; null: single calls only.")
    hops: HopGates = setting(HopGates, "What each step from exact arithmetic to the artifact may lose.")
    profile: bool = setting(
        False, "Draw where a lowered graph loses digits, layer by layer; done without being asked where a gate fails."
    )
    repeat: int = setting(
        0, "Build everything this many times again, each in a process of its own, and compare bytes, outputs and times."
    )
