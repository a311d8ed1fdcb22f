"""The error budget: the error that each conversion from exact arithmetic to the artifact adds, and the total error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from cosybuild import figure
from cosybuild.numerics.gates import Gate, Miss, misses, plain_gate, worst
from cosybuild.numerics.inputs import Array
from cosybuild.verification.judge import Comparison, Limits, compare_outputs

Outputs = Mapping[str, Array]

_NO_LIMITS = Limits({})


@dataclass(frozen=True)
class ModelForm:
    """One representation of the model between exact arithmetic and the artifact, e.g. the final graph.

    Attributes:
        name: the step that made the representation, e.g. `simplify`; for the first one its number type, e.g. `float64`.
        outputs: case name -> outputs by name.
        gate: the gate on the conversion from the previous representation to this one; empty if there is no bound.
    """

    name: str
    outputs: Mapping[str, Outputs]
    gate: Gate


@dataclass(frozen=True)
class Hop:
    """One conversion between two consecutive representations of the model (`ModelForm`), and the error that it adds.

    Attributes:
        name: the name of the step that converts, e.g. `export`.
        against: the name of the previous representation.
        own: metric -> worst value against the previous representation, over all cases and outputs.
        total: metric -> worst value against the first representation.
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
        """The worst signal-to-noise ratio of this conversion alone, in dB; a larger ratio is better."""
        return self.own["snr_db"]

    def facts(self) -> dict[str, Any]:
        """Return the conversion and its figures as JSON data, for the report."""
        return {"hop": self.name, "against": self.against, "own": figure.plain(self.own),
                "total": figure.plain(self.total), "case": self.case, "gate": plain_gate(self.gate),
                "missed": [str(miss) for miss in self.missed]}  # fmt: skip


def error_budget(forms: Sequence[ModelForm], limits: Limits = _NO_LIMITS) -> tuple[Hop, ...]:
    """Return the error of each conversion (hop), measured on the cases that all representations have.

    Args:
        forms: the representations of the model in the order of the build. Each pair of neighbours is a hop.
        limits: gives the number type in which the model computes, and the kinds of the outputs.
    """
    shared = [case for case in forms[0].outputs if all(case in form.outputs for form in forms)] if forms else []
    hops = []
    for before, form in pairwise(forms):
        if not shared:
            break
        own_limits = replace(limits, gate=form.gate, tolerance=None)
        compared = {case: compare_outputs(form.outputs[case], before.outputs[case], own_limits) for case in shared}
        own = {case: worst(one.figures for one in outputs.values()) for case, outputs in compared.items()}
        free = replace(own_limits, gate={}, of_kind={})
        total = [compare_outputs(form.outputs[case], forms[0].outputs[case], free) for case in shared]
        case = min(shared, key=lambda name: own[name]["snr_db"])
        missed = _missed(form, list(compared.values()), own_limits)
        everything = [one for outputs in total for one in outputs.values()]
        hops.append(Hop(form.name, before.name, worst(own.values()), _worst(everything), case, form.gate, missed))
    return tuple(hops)


def _missed(form: ModelForm, compared: Sequence[Mapping[str, Comparison]], limits: Limits) -> tuple[Miss, ...]:
    """Return the bounds that outputs with a fault miss.

    They come from the hop's gate and from the gates of output kinds.
    """
    faulty = [(name, one) for outputs in compared for name, one in outputs.items() if one.fault is not None]
    of_gates: dict[int, list[Comparison]] = {}
    gates = [limits.of(name).gate for name, _ in faulty]
    for gate, (_, one) in zip(gates, faulty, strict=True):
        of_gates.setdefault(id(gate), []).append(one)
    known = {id(gate): gate for gate in (form.gate, *gates)}
    return tuple(miss for key, several in of_gates.items() for miss in misses(_worst(several), known[key]))


def worst_hop(hops: Sequence[Hop]) -> Hop | None:
    """Return the hop with the smallest signal-to-noise ratio; None without hops.

    If any hops miss their gate, only those are considered.
    """
    guilty = [hop for hop in hops if hop.missed] or list(hops)
    return min(guilty, key=lambda hop: hop.loss_db, default=None)


def describe(hops: Sequence[Hop]) -> str:
    """Return the worst hop in words, e.g. `the hop with the fault is simplify (48.2 dB by itself; export 131.0 dB)`.

    The text is empty without hops.
    """
    guilty = worst_hop(hops)
    if guilty is None:
        return ""
    others = ", ".join(f"{hop.name} {hop.loss_db:.1f} dB" for hop in hops if hop is not guilty)
    return (
        f"the hop with the fault is {guilty.name} ({guilty.loss_db:.1f} dB by itself{'; ' + others if others else ''})"
    )


def _worst(compared: Iterable[Comparison]) -> dict[str, float]:
    return worst(one.figures for one in compared)
