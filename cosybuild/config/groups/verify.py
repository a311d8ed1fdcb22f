"""`verify`: comparison of the artifact with PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from cosybuild.config.groups.field import setting


class VerifyMode(str, Enum):
    """The rule that selects the cases of verification."""

    strict = "strict"
    upstream = "upstream"


class Provider(str, Enum):
    """The execution provider of ONNX Runtime, which determines the device."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class SolverPoint(str, Enum):
    """The length of an utterance on which the solver runs: 64 frames, or a size of the profile."""

    short = "short"
    opt = "opt"
    max = "max"


@dataclass(frozen=True)
class SolverCheck:
    """Gates of the estimator inside its solver, which makes Euler steps with classifier-free guidance.

    Every gate is a metric of docs/verification.md and its bound. It is measured on the mel spectrogram after the last
    step. The same page describes how the defaults were measured.
    """

    points: tuple[SolverPoint, ...] = setting(
        lambda: (SolverPoint.short,),
        "The lengths of the utterances: short is 64 frames; opt and max are those of the profile.",
    )
    lengths: tuple[int, ...] = setting(tuple, "Lengths of further utterances, in frames.")
    chunks: int = setting(
        2,
        "Streaming: the number of chunks of the utterance, which are fed as growing prefixes; "
        "the last chunk is shorter.",
    )
    steps: int | None = setting(
        None,
        "The number of Euler steps, e.g. fewer for a distilled model; null: ten, as in upstream's runtime.",
    )
    step_snr_db: float = setting(90.0, "The smallest signal-to-noise ratio of the state after each step, in dB.")
    gates: dict[str, float] = setting(
        lambda: {"snr_db": 90.0, "mean_abs": 3.5e-5, "max_abs": 3e-4, "lsd_db": 4e-4, "cosine": 0.9999999},
        "Bounds for the mel spectrogram of a float32 artifact: metric -> bound.",
    )
    lowered: dict[str, float] = setting(
        dict,
        "Bounds for the mel spectrogram of a lowered graph or an engine: metric -> bound; empty: those of the "
        "precision.",
    )


@dataclass(frozen=True)
class HopGates:
    """Gates of each hop, which is one conversion between exact arithmetic and the artifact: metric -> bound."""

    torch: dict[str, float] = setting(
        lambda: {"snr_db": 94.0}, "Bounds for PyTorch in float32 against float64: metric -> bound."
    )
    export: dict[str, float] = setting(
        lambda: {"snr_db": 94.0}, "Bounds for the exported graph against PyTorch: metric -> bound."
    )
    simplify: dict[str, float] = setting(
        lambda: {"snr_db": 94.0}, "Bounds for the simplified graph against the exported graph: metric -> bound."
    )
    engine: dict[str, float] = setting(
        dict, "Bounds for the engine against PyTorch: metric -> bound; empty: those of the engine's precision."
    )


@dataclass(frozen=True)
class OutputLimits:
    """The tolerances of one output. A tolerance that is null or empty is that of the whole model."""

    rtol: float | None = setting(None, "The relative tolerance of each element of the float32 graph.")
    atol: float | None = setting(None, "The absolute tolerance of each element, in the output's units.")
    floor: float = setting(
        0.0, "A difference of at most this, in the output's units, is accepted in every element and precision."
    )
    gates: dict[str, float] = setting(dict, "Bounds for the float32 graph: metric -> bound.")
    lowered: dict[str, float] = setting(dict, "Bounds for a lowered graph and an engine: metric -> bound.")


@dataclass(frozen=True)
class VerifySettings:
    """The cases of verification, the runtime that computes them, and the tolerances.

    Each element must satisfy |a - r| <= atol + rtol * |r|, where `a` is the artifact's value and `r` the reference.
    With mode `strict`, atol is multiplied by the output's root mean square if that exceeds 1. Each output must reach
    `snr_db`.

    The defaults were measured against PyTorch in float32, with simplified graphs of opset 18 in ONNX Runtime on one CPU
    thread. There were 1346 cases of twelve seeds on the three tiny models, with full attention and streaming, and with
    batches of 2 to 32. The worst ratio was 103 dB. With rtol 1e-4, the largest atol that a case needed was 5.4e-5, in
    guidance rows of CosyVoice 1, whose normalisations have almost no variance there. Small faults that were made on
    purpose (one weight scaled by 1.001, an epsilon of 1e-6 instead of 1e-5) give 89 dB or less, if they are larger than
    the rounding at all.
    """

    mode: VerifyMode = setting(
        VerifyMode.strict,
        "strict: min, opt and max of each profile and the sizes beside them, chunk boundaries and random sizes; "
        "upstream: ten random lengths in 16..512.",
    )
    rtol: float = setting(1e-4, "The relative tolerance of each element.")
    atol: float = setting(3e-4, "The absolute tolerance of each element, in the output's units.")
    snr_db: float | None = setting(
        94.0,
        "The smallest signal-to-noise ratio of each output, in dB; null: no bound. A number other than the default "
        "also replaces the ratio in the gates of kinds of outputs, such as waveforms; null leaves those as they are.",
    )
    seed: int = setting(0, "The seed of all generated inputs.")
    threads: int = setting(1, "ONNX Runtime's intra_op_num_threads.")
    provider: Provider = setting(
        Provider.auto, "The execution provider of ONNX Runtime; auto: CUDA if it loads, else CPU."
    )
    float64: bool = setting(False, "Compute the reference in float64 too, and compare PyTorch's float32 with it.")
    exhaustive: bool = setting(
        False,
        "Also compare the sizes beside a profile's min and max above 1024 frames, and every case for every conversion "
        "(hop).",
    )
    lengths: str | None = setting(
        None,
        "A file of lengths recorded in production, with `length` or `length,count` on each line, in frames or with a "
        "unit; some are compared.",
        local=True,
    )
    inputs: Any = setting(
        None,
        "Real inputs in place of generated ones, for verification, calibration and benchmark: an .npz file with one "
        "array for each input, a directory of them, or a Hydra node with _target_ that yields batches.",
        local=True,
    )
    outputs: dict[str, OutputLimits] = setting(
        dict, "Tolerances of single outputs by name: {probabilities: {floor: 1e-6, lowered: {top5_loss: 0.01}}}."
    )
    solver: SolverCheck | None = setting(SolverCheck, "Solver runs; null: single calls only.")
    hops: HopGates = setting(
        HopGates, "The error that each conversion (hop) between exact arithmetic and artifact may add."
    )
    profile: bool = setting(False, "Draw the noise profile of a lowered graph; it is always drawn if a gate fails.")
    repeat: int = setting(
        0, "The number of repeated builds, each in a separate process, whose bytes, outputs and times are compared."
    )
