"""Gates (bounds on metrics): the default gates of each number type, and the check of measured values against a gate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cosybuild.config.groups.precision import Target
from cosybuild.errors import ConfigurationError
from cosybuild.numerics import audio as audio  # the import registers the metrics
from cosybuild.numerics.metrics import METRICS, Kind

Gate = Mapping[str, float]
"""Metric -> bound, for every output. The bound is the smallest allowed value if `Metric.higher_is_better`, else the
largest.
"""

LOWERED: dict[Target, Gate] = {
    Target.fp16: {"snr_db": 34.0, "max_rel": 0.2},
    Target.mixed: {"snr_db": 35.0, "max_rel": 0.2},
    Target.bf16: {"snr_db": 20.0, "max_rel": 0.8},
}
"""Gates on one call of a lowered graph, compared with float32. docs/verification.md describes how they were
measured.
"""

ENGINE: dict[Target, Gate] = {
    Target.fp32: {"snr_db": 80.0, "max_rel": 1e-3},
    Target.tf32: LOWERED[Target.fp16],  # the factors of its products have eleven significant bits, like fp16
    **LOWERED,
}
"""Gates on one call of an engine. A GPU adds in another order than a CPU. That costs a few of the 103 dB measured
between two CPU libraries (verify.rtol). A single layer that runs in TF32 or fp16 by mistake costs more than 40 dB.
"""

LOWERED_SOLVER: dict[Target, Gate] = {
    Target.fp32: {"snr_db": 70.0, "cosine": 0.999999},  # for engines only: the total error of ten calls with 80 dB each
    Target.tf32: {"snr_db": 32.0, "cosine": 0.999},
    Target.fp16: {"snr_db": 32.0, "cosine": 0.999},
    Target.mixed: {"snr_db": 44.0, "cosine": 0.9999},
    Target.bf16: {"snr_db": 20.0, "cosine": 0.99},
}
"""Gates on the mel after all steps of the solver, computed with a lowered graph or with an engine."""

OPENVINO_MIXED: Gate = {"snr_db": 22.0, "max_rel": 0.6}
OPENVINO_MIXED_SOLVER: Gate = {"snr_db": 32.0, "cosine": 0.999}
"""Gates on one call, and on the mel after all solver steps, for an OpenVINO IR whose matrix products and softmax
compute in bf16 and whose other arithmetic computes in float32 (ov.keep_fp32).
"""

RESOLUTION: dict[Target, float] = {
    Target.fp32: 2.0**-23,
    Target.tf32: 2.0**-10,
    Target.fp16: 2.0**-10,
    Target.mixed: 2.0**-10,
    Target.bf16: 2.0**-7,
}
"""The distance from 1 to the next number of the type in which an artifact computes. For tf32 and mixed, it is that of
the type of the factors of matrix products.
"""

_CREST = 8
"""Largest allowed error of one element, as a multiple of the root mean square of all errors, if the user states only
the signal-to-noise ratio.
"""


def with_ratio(gate: Gate, snr_db: float | None) -> Gate:
    """Return the gate with another signal-to-noise ratio, in dB, and a bound `max_rel` that fits this ratio.

    The ratio determines the root mean square of the error. The largest error of one element may be `_CREST` times that.
    If `max_rel` stayed the same, a user who accepts more noise would still fail at `max_rel`.

    Args:
        gate: the default gate.
        snr_db: the ratio that the user states; None leaves the gate as it is.
    """
    return gate if snr_db is None else {**gate, "snr_db": snr_db, "max_rel": _CREST * 10 ** (-snr_db / 20)}


@dataclass(frozen=True)
class Miss:
    """A bound that a measured value does not meet.

    Attributes:
        metric: the metric.
        value: the measured value.
        bound: the bound.
    """

    metric: str
    value: float
    bound: float

    def __str__(self) -> str:
        one = METRICS[self.metric]
        unit = f" {one.unit}" if one.unit and one.unit != "output" else ""
        limit = "at least" if one.higher_is_better else "at most"
        return f"{self.metric} {self.value:.4g}{unit} where {limit} {self.bound:g}{unit} is asked for"


def misses(figures: Mapping[str, float], gate: Gate) -> list[Miss]:
    """Return the bounds of `gate` that the measured values do not meet, in the gate's order.

    A bound on a metric that was not measured, because the metric is for another kind of values, is ignored.

    Args:
        figures: metric -> measured value.
        gate: metric -> bound.
    """
    return [
        Miss(name, figures[name], bound)
        for name, bound in gate.items()
        if (name in figures or METRICS[name].of is Kind.any) and not METRICS[name].holds(figures[name], bound)
    ]


def worst(figures: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the worst value of each metric that all of the given measurements contain."""
    gathered = list(figures)
    names = [name for name in METRICS if gathered and all(name in one for one in gathered)]
    return {name: (min if METRICS[name].higher_is_better else max)(one[name] for one in gathered) for name in names}


OF_KIND: Mapping[Kind, Gate] = {
    Kind.waveform: {
        "snr_db": 25.0,
        "log_mel_db": 0.4,
        "multi_resolution": 0.05,
        "clipped": 1e-3,
        "dc": 1e-3,
        "silence": 0,
    },
    Kind.spectrum: {"snr_db": 40.0},
    Kind.f0: {"f0_cents": 0.2, "voicing_flips": 0},
    Kind.phase: {"phase_cycles": 0.02},
    Kind.tokens: {"equal_tokens": 0.995},
}
"""Gates on outputs of these kinds in float32; docs/verification.md has the measurements. A sine of the vocoder's source
has a hundred thousand cycles in a minute, so the last digits of f0 shift its samples. The bound on the signal-to-noise
ratio allows for that; the other metrics do not depend on phases. A token is an index. In float32 it changes only if two
entries of the codebook are equally near.
"""

_NARROW: Mapping[Kind, Gate] = {
    Kind.waveform: {
        **OF_KIND[Kind.waveform],
        "snr_db": 22.0,
        "log_mel_db": 4.0,
        "multi_resolution": 0.6,
        "clipped": 3e-3,
        "dc": 2e-3,
    },
    Kind.spectrum: {"snr_db": 22.0},
    Kind.condition: {"snr_db": 44.0},
    Kind.embedding: {"cosine": 0.9995},
    Kind.tokens: {"further_differences": 0.1},
    Kind.classes: {"snr_db": 34.0, "top5_loss": 0.02},
}
_NARROW_FACTORS: Mapping[Kind, Gate] = {
    **_NARROW,
    Kind.waveform: {**_NARROW[Kind.waveform], "snr_db": 23.0, "log_mel_db": 3.0, "multi_resolution": 0.5},
    Kind.spectrum: {"snr_db": 23.0},
    Kind.condition: {"snr_db": 48.0},
    Kind.classes: {"snr_db": 35.0, "top5_loss": 0.02},
}
OF_KIND_LOWERED: Mapping[Target, Mapping[Kind, Gate]] = {
    Target.tf32: _NARROW_FACTORS,
    Target.fp16: _NARROW,
    Target.mixed: _NARROW_FACTORS,
    Target.bf16: {
        Kind.waveform: {
            **OF_KIND[Kind.waveform],
            "snr_db": 6.0,
            "log_mel_db": 12.0,
            "multi_resolution": 1.6,
            "clipped": 1e-2,
            "dc": 0.03,
        },
        Kind.spectrum: {"snr_db": 6.0},
        Kind.condition: {"snr_db": 26.0},
        Kind.embedding: {"cosine": 0.99},
        Kind.tokens: {"further_differences": 0.3},
        Kind.classes: {"snr_db": 20.0, "top5_loss": 0.08},
    },
}
"""Gates that differ from `OF_KIND` in smaller types; docs/verification.md has the measurements. bf16 has three bits
less than fp16, which costs 18 dB in theory. The gate on an embedding allows a small angle; the vectors of two
recordings of one speaker differ by an angle tens of times as large. Probabilities have no bound on `max_rel`: the root
mean square over thousands of classes is so small that a small error of the first class exceeded every bound.
"""


_STEADY = 10.0
"""Length of audio, in seconds, on which the gates on waveforms were measured."""

_GROWING = ("log_mel_db", "multi_resolution")


def for_length(kind: Kind, gate: Gate, samples: int) -> Gate:
    """Return the gate on an output with `samples` values. The bounds on waveforms above 10 s widen with the length.

    The phase of a vocoder's sines is a sum over all frames, so the rounding errors of f0 add up. Shorter waveforms keep
    the narrow gate. The gates on f0 and on phases do not widen.
    """
    growth = samples / audio.RATE / _STEADY
    if kind is not Kind.waveform or growth <= 1:
        return gate
    wider = {name: bound * growth if name in _GROWING else bound for name, bound in gate.items()}
    if "snr_db" in gate:
        wider["snr_db"] = gate["snr_db"] - 20 * math.log10(growth)
    return wider


def gates_of_kinds(target: Target, snr_db: float | None = None) -> Mapping[Kind, Gate]:
    """Return kind -> gate, for the kinds of outputs that have a gate of their own in this number type.

    Args:
        target: the number type.
        snr_db: the signal-to-noise ratio that the user states, in dB; None for the default ratios.
    """
    gates = {**OF_KIND, **OF_KIND_LOWERED.get(target, {})}
    if snr_db is None:
        return gates
    return {kind: {**gate, "snr_db": snr_db} if "snr_db" in gate else gate for kind, gate in gates.items()}


def check_gate(setting: str, gate: Gate, kind: Kind = Kind.any) -> None:
    """Check that a gate names only metrics that exist and that can be used for the kind.

    Args:
        setting: the setting's dotted name, for the error.
        gate: the gate to check.
        kind: the kind of the compared values; metrics of this kind are allowed too.

    Raises:
        ConfigurationError: a metric is unknown or for another kind; the error names the setting and the allowed
            metrics.
    """
    known = [name for name, one in METRICS.items() if one.measures(kind)]
    for name in gate:
        if name not in known:
            raise ConfigurationError(
                f"{setting}.{name} is not a metric that can be used here; available are: {', '.join(known)}.",
                hint="Next: correct the name; docs/verification.md lists them.",
            )


def plain_gate(gate: Gate) -> dict[str, float]:
    """Return the gate as JSON data, for the keys of steps and for records."""
    return {name: float(bound) for name, bound in gate.items()}
