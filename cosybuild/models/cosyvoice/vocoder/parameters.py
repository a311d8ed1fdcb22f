"""The vocoder's hyper-parameters: published values, derived sizes, and the check of given values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any

from cosybuild.config.groups.model import Family
from cosybuild.models.cosyvoice.families import MOST_LAYERS


class Interpolation(str, Enum):
    """The method that computes the phase of each sample from the phases of the frames."""

    exact = "exact"
    """At every sample, the phase grows by the frequency of the sample's frame (version 1)."""
    linear = "linear"
    """The phase is interpolated linearly between the centres of the frames (version 2)."""
    nearest = "nearest"
    """The phase is constant within a frame (version 3)."""


@dataclass(frozen=True)
class VocoderParameters:
    """The hyper-parameters of a vocoder. They and the weights determine the function that it computes.

    The names are those of the arguments of CosyVoice's classes, where `n_fft`, `hop_len` and `f0_channels` are nested.

    Attributes:
        causal: True if convolutions read only earlier positions, except the first layers, which read a few later mel
            frames (version 3).
        interpolation: the method that computes the phase of each sample.
        in_channels: frequency bins of the mel.
        base_channels: channels after the first convolution; every up-sampling stage halves them.
        nb_harmonics: number of overtones in the source signal, without the fundamental.
        sampling_rate: samples per second.
        nsf_alpha: amplitude of each sine of the source signal.
        nsf_sigma: amplitude of the noise in voiced frames; in unvoiced frames it is a third of `nsf_alpha`.
        nsf_voiced_threshold: a frame is voiced if its f0 is above this value, in Hz.
        upsample_rates, upsample_kernel_sizes: factor and kernel width of each up-sampling stage.
        n_fft, hop_len: samples of a window, and samples from one window to the next, in all short-time spectra.
        resblock_kernel_sizes, resblock_dilation_sizes: one entry for each residual block; every stage has all of them.
        source_resblock_kernel_sizes, source_resblock_dilation_sizes: one entry for each stage, for its residual block
            that processes the source.
        lrelu_slope: slope of the leaky ReLU before each up-sampling.
        audio_limit: largest absolute value of a sample.
        conv_pre_look_right: later mel frames that the first convolution reads (causal variant only).
        f0_channels: channels of the f0 predictor's convolutions.
    """

    causal: bool
    interpolation: Interpolation
    in_channels: int = 80
    base_channels: int = 512
    nb_harmonics: int = 8
    sampling_rate: int = 24000
    nsf_alpha: float = 0.1
    nsf_sigma: float = 0.003
    nsf_voiced_threshold: float = 10
    upsample_rates: tuple[int, ...] = (8, 5, 3)
    upsample_kernel_sizes: tuple[int, ...] = (16, 11, 7)
    n_fft: int = 16
    hop_len: int = 4
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    source_resblock_kernel_sizes: tuple[int, ...] = (7, 7, 11)
    source_resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    lrelu_slope: float = 0.1
    audio_limit: float = 0.99
    conv_pre_look_right: int = 4
    f0_channels: int = 512

    @property
    def harmonics(self) -> int:
        """The number of sines in the source signal: the fundamental and its overtones."""
        return self.nb_harmonics + 1

    @property
    def bins(self) -> int:
        """The number of frequency bins in a spectrum."""
        return self.n_fft // 2 + 1

    @property
    def spectra_per_frame(self) -> int:
        """The number of spectra per mel frame."""
        return math.prod(self.upsample_rates)

    @property
    def samples_per_frame(self) -> int:
        """The number of samples per mel frame."""
        return self.spectra_per_frame * self.hop_len

    @property
    def frames_per_second(self) -> float:
        """The number of mel frames per second."""
        return self.sampling_rate / self.samples_per_frame


PUBLISHED: Mapping[Family, VocoderParameters] = {
    Family.cosyvoice1: VocoderParameters(
        causal=False,
        interpolation=Interpolation.exact,
        sampling_rate=22050,
        upsample_rates=(8, 8),
        upsample_kernel_sizes=(16, 16),
        source_resblock_kernel_sizes=(7, 11),
        source_resblock_dilation_sizes=((1, 3, 5),) * 2,
    ),
    Family.cosyvoice2: VocoderParameters(causal=False, interpolation=Interpolation.linear),
    Family.cosyvoice3: VocoderParameters(causal=True, interpolation=Interpolation.nearest),
}
"""The hyper-parameters of the published vocoders."""

FIRST_WIDTH = LAST_WIDTH = 7
"""Kernel width of the generator's first convolution (except in the causal variant) and of its last convolution."""

F0_LAYERS, F0_WIDTH = 5, 3
"""Number of convolutions in the f0 predictor, and their kernel width."""

F0_LOOKAHEAD = 3
"""Number of later mel frames that the first layer of the causal f0 predictor reads; its other layers read none."""

COUNTS = ("in_channels", "base_channels", "sampling_rate", "n_fft", "hop_len", "f0_channels")
NATURALS = ("nb_harmonics", "conv_pre_look_right")
POSITIVES = ("nsf_alpha", "nsf_voiced_threshold", "audio_limit")

MOST = {"n_fft": 4096, "samples_per_frame": 1_000_000}
"""The largest permitted values; the published models have 16 and at most 480.

The limits are needed because a vocoder creates tables of these sizes before its shapes are compared with the weights.
"""


def with_values(base: VocoderParameters, values: Mapping[str, Any]) -> VocoderParameters:
    """Return a copy of `base` with some values replaced.

    Args:
        base: the values to start from.
        values: the new values by the names in `VocoderParameters`; lists are converted to tuples.

    Raises:
        ValueError: a name is unknown, a value has the wrong type or range, or two values contradict each other. The
            message names them.
    """
    known = {field.name for field in fields(VocoderParameters)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{', '.join(unknown)} is not known; there are {', '.join(sorted(known))}")
    frozen = {name: _frozen(value) for name, value in values.items()}
    if "interpolation" in frozen and frozen["interpolation"] in [form.value for form in Interpolation]:
        frozen["interpolation"] = Interpolation(frozen["interpolation"])
    for name, value in frozen.items():
        if (expected := _expected(name, value)) is not None:
            raise ValueError(f"{name} is {values[name]!r}, where {expected} is expected")
    result = replace(base, **frozen)
    if (fault := _contradiction(result)) is not None:
        raise ValueError(fault)
    return result


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value


def _expected(name: str, value: Any) -> str | None:
    """Return a text for the expected kind of value; None if `value` is of that kind."""
    if name in COUNTS:
        return None if _is_whole(value, 1) else "a positive whole number"
    if name in NATURALS:
        return None if _is_whole(value, 0) else "a whole number of at least 0"
    if name.endswith(("_rates", "_kernel_sizes")):
        return None if _are_counts(value) else "a list of positive whole numbers"
    if name.endswith("_dilation_sizes"):
        right = isinstance(value, tuple) and bool(value) and all(_are_counts(item) for item in value)
        return None if right else "a list of lists of positive whole numbers"
    if name == "causal":
        return None if isinstance(value, bool) else "true or false"
    if name == "interpolation":
        forms = ", ".join(form.value for form in Interpolation)
        return None if isinstance(value, Interpolation) else f"one of {forms}"
    right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    if name in POSITIVES:
        return None if right and value > 0 else "a positive number"
    return None if right else "a number of at least 0"


def _are_counts(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(_is_whole(item, 1) for item in value)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= 1_000_000


def _contradiction(values: VocoderParameters) -> str | None:
    if (fault := _excess(values)) is not None:
        return fault
    stages = len(values.upsample_rates)
    lengths = {
        "upsample_kernel_sizes": (values.upsample_kernel_sizes, stages),
        "source_resblock_kernel_sizes": (values.source_resblock_kernel_sizes, stages),
        "source_resblock_dilation_sizes": (values.source_resblock_dilation_sizes, stages),
        "resblock_dilation_sizes": (values.resblock_dilation_sizes, len(values.resblock_kernel_sizes)),
    }
    for name, (given, expected) in lengths.items():
        if len(given) != expected:
            return f"{name} has {len(given)} entries, where {expected} are expected"
    if values.base_channels % 2**stages:
        return f"base_channels is {values.base_channels}, where a multiple of {2**stages} is expected"
    if values.n_fft % 2 or values.hop_len > values.n_fft // 2:
        return (
            f"n_fft is {values.n_fft} and hop_len {values.hop_len}, where an even n_fft of two hops or more is expected"
        )
    if values.n_fft >= 2 * values.samples_per_frame:
        return (
            f"n_fft is {values.n_fft}, where less than twice the {values.samples_per_frame} samples of a frame is "
            "expected, so that one frame can be mirrored at its ends"
        )
    if stages > 1 and values.upsample_rates[-1] == 1:
        return "upsample_rates ends with 1, where 2 or more is expected: the stage before has one spectrum too few"
    if any(size % 2 == 0 for size in (*values.resblock_kernel_sizes, *values.source_resblock_kernel_sizes)):
        return "a residual block has an even kernel size, where an odd one is expected"
    if values.causal:
        return None
    for rate, size in zip(values.upsample_rates, values.upsample_kernel_sizes, strict=True):
        if size < rate or (size - rate) % 2:
            return f"an up-sampling by {rate} has a kernel of {size}, where {rate} and an even number more is expected"
    return None


def _excess(values: VocoderParameters) -> str | None:
    """Return a text about the first value for which the vocoder would be too large to create, or None."""
    blocks = sum(map(len, values.resblock_dilation_sizes)), sum(map(len, values.source_resblock_dilation_sizes))
    layers = len(values.upsample_rates) * (1 + blocks[0]) + blocks[1]
    if layers > MOST_LAYERS:
        return f"stages have {layers:,} layers together, where at most {MOST_LAYERS:,} are expected"
    for name, most in MOST.items():
        if getattr(values, name) > most:
            return f"{name} is larger than {most:,}"
    return None
