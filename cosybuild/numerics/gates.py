"""Bounds on figures: what is held to them, what misses, and what each number type is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cosybuild.config.groups.precision import Target
from cosybuild.errors import ConfigurationError
from cosybuild.numerics.metrics import METRICS

Gate = Mapping[str, float]
"""Metric -> bound. Whether it is the smallest or the largest allowed is the metric's."""

LOWERED: dict[Target, Gate] = {
    Target.fp16: {"snr_db": 34.0, "max_rel": 0.2},
    Target.mixed: {"snr_db": 35.0, "max_rel": 0.2},
    Target.bf16: {"snr_db": 20.0, "max_rel": 0.8},
}
"""Of one call of a lowered graph against float32; docs/verification.md says how they were measured."""

ENGINE: dict[Target, Gate] = {
    Target.fp32: {"snr_db": 80.0, "max_rel": 1e-3},
    Target.tf32: LOWERED[Target.fp16],  # its factors have the eleven significant bits of fp16
    **LOWERED,
}
"""Of one call of an engine. A GPU adds in another order than a CPU, which costs a few of the 103 dB measured between
two CPU libraries (verify.rtol); a single layer in TF32 or fp16 by mistake costs more than forty."""

LOWERED_SOLVER: dict[Target, Gate] = {
    Target.fp32: {"snr_db": 70.0, "cosine": 0.999999},  # of an engine: ten calls at 80 dB
    Target.tf32: {"snr_db": 32.0, "cosine": 0.999},
    Target.fp16: {"snr_db": 32.0, "cosine": 0.999},
    Target.mixed: {"snr_db": 44.0, "cosine": 0.9999},
    Target.bf16: {"snr_db": 20.0, "cosine": 0.99},
}
"""Of the mel after all steps of the solver, of a lowered graph or an engine."""


@dataclass(frozen=True)
class Miss:
    """A figure outside its bound."""

    metric: str
    value: float
    bound: float

    def __str__(self) -> str:
        one = METRICS[self.metric]
        unit = f" {one.unit}" if one.unit and one.unit != "output" else ""
        limit = "at least" if one.higher_is_better else "at most"
        return f"{self.metric} {self.value:.4g}{unit} where {limit} {self.bound:g}{unit} is asked for"


def misses(figures: Mapping[str, float], gate: Gate) -> list[Miss]:
    """What of `gate` the figures do not meet, in the gate's order."""
    return [
        Miss(name, figures[name], bound)
        for name, bound in gate.items()
        if not METRICS[name].holds(figures[name], bound)
    ]


def worst(figures: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The worst value of each metric that all of several measurements have."""
    gathered = list(figures)
    names = [name for name in METRICS if gathered and all(name in one for one in gathered)]
    return {name: (min if METRICS[name].higher_is_better else max)(one[name] for one in gathered) for name in names}


def check_gate(setting: str, gate: Gate, *, mel: bool = False) -> None:
    """Refuse a gate on what is no metric.

    Raises:
        ConfigurationError: names the setting and the metrics there are.
    """
    known = [name for name, one in METRICS.items() if mel or not one.of_mel]
    for name in gate:
        if name not in known:
            raise ConfigurationError(
                f"{setting}.{name} is no metric that can be held here; there are: {', '.join(known)}.",
                hint="Next: correct the name; docs/verification.md lists them.",
            )


def plain_gate(gate: Gate) -> dict[str, Any]:
    """For keys and JSON."""
    return {name: float(bound) for name, bound in gate.items()}
