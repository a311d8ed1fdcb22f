"""The error budget: the accuracy that each step from exact arithmetic to the artifact loses alone and in total."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from cosybuild import figure
from cosybuild.numerics.gates import Gate, Miss, misses, plain_gate, worst
from cosybuild.numerics.inputs import Array
from cosybuild.numerics.metrics import measure

Outputs = Mapping[str, Array]


@dataclass(frozen=True)
class Stop:
    """One form of the model between exact arithmetic and the artifact.

    Attributes:
        name: the step that made this form, e.g. `simplify`; for the first stop its number type, e.g. `float64`.
        outputs: case -> outputs by name.
        gate: the gate on the hop from the stop before; empty if that hop has no bound.
    """

    name: str
    outputs: Mapping[str, Outputs]
    gate: Gate


@dataclass(frozen=True)
class Hop:
    """The difference between two consecutive stops.

    Attributes:
        name: the step's name.
        against: the name of the stop before.
        own: worst figures against the stop before, over all cases and outputs.
        total: worst figures against the first stop.
        case: the case with the smallest signal-to-noise ratio in `own`.
        gate: the gate on `own`.
        missed: the bounds of the gate that `own` does not meet.
    """

    name: str
    against: str
    own: Mapping[str, float]
    total: Mapping[str, float]
    case: str
    gate: Gate
    missed: tuple[Miss, ...]

    @property
    def loss_db(self) -> float:
        """The signal-to-noise ratio of this hop alone, in dB."""
        return self.own["snr_db"]

    def facts(self) -> dict[str, Any]:
        """Return the hop as JSON data."""
        return {"hop": self.name, "against": self.against, "own": figure.plain(self.own),
                "total": figure.plain(self.total), "case": self.case, "gate": plain_gate(self.gate),
                "missed": [str(miss) for miss in self.missed]}  # fmt: skip


def error_budget(stops: Sequence[Stop]) -> tuple[Hop, ...]:
    """Return one hop for each stop after the first, measured on the cases that every stop has."""
    shared = [case for case in stops[0].outputs if all(case in stop.outputs for stop in stops)] if stops else []
    hops = []
    for before, stop in pairwise(stops):
        if not shared:
            break
        own = {case: _figures(stop.outputs[case], before.outputs[case]) for case in shared}
        total = [_figures(stop.outputs[case], stops[0].outputs[case]) for case in shared]
        figures = worst(own.values())
        case = min(shared, key=lambda name: own[name]["snr_db"])
        hops.append(
            Hop(stop.name, before.name, figures, worst(total), case, stop.gate, tuple(misses(figures, stop.gate)))
        )
    return tuple(hops)


def to_blame(hops: Sequence[Hop]) -> Hop | None:
    """Return the hop with the largest loss among those that miss their gate, else among all; None if there is none."""
    guilty = [hop for hop in hops if hop.missed] or list(hops)
    return min(guilty, key=lambda hop: hop.loss_db, default=None)


def describe(hops: Sequence[Hop]) -> str:
    """Return e.g. `the hop to blame is simplify (48.2 dB by itself; export 131.0 dB)`; empty if there is no hop."""
    guilty = to_blame(hops)
    if guilty is None:
        return ""
    others = ", ".join(f"{hop.name} {hop.loss_db:.1f} dB" for hop in hops if hop is not guilty)
    return f"the hop to blame is {guilty.name} ({guilty.loss_db:.1f} dB by itself{'; ' + others if others else ''})"


def _figures(actual: Outputs, reference: Outputs) -> dict[str, float]:
    return worst(_measured(actual[name], values) for name, values in reference.items())


def _measured(actual: Array, reference: Array) -> dict[str, float]:
    """Return the figures of one output; a different shape or a value that is not finite gives the worst figures."""
    if actual.shape == reference.shape and np.isfinite(actual).all():
        return measure(actual, reference)
    nothing = measure(np.zeros(1), np.ones(1))
    return {**nothing, "snr_db": float("-inf"), "max_abs": float("inf"), "mean_abs": float("inf"),
            "max_rel": float("inf")}  # fmt: skip
