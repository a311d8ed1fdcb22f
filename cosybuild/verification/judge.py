"""The comparison of a case's outputs with the reference, under a gate and a tolerance.

It serves for the float32 graph, the lowered graph, the engine, the error budget and the reproduction of a failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cosybuild import figure
from cosybuild.config.groups.precision import Target
from cosybuild.errors import VerificationError
from cosybuild.numerics.gates import RESOLUTION, Gate, Miss, for_length, gates_of_kinds, misses, worst
from cosybuild.numerics.inputs import Array
from cosybuild.numerics.metrics import METRICS, Kind, is_distribution, lost, measure
from cosybuild.numerics.tolerance import Tolerance
from cosybuild.verification.cases import Case
from cosybuild.verification.spare import Spare

Outputs = Mapping[str, Array]

PERCENTILES = (50, 90, 99, 100)

UNITS = 2
"""Number of units in the last place by which an element may always differ. Two correct computations of one value may
round the result to neighbouring numbers, and may have rounded the operands of the last operation differently.
"""

UNIT_SCALE = UNITS * RESOLUTION[Target.fp32]
"""The difference that `UNITS` allows for a value of size 1 in float32. If an output is a small difference of values
near 1, its absolute error is as large as the error of those values.
"""


@dataclass(frozen=True)
class OwnLimits:
    """The limits that the user sets for one output.

    Attributes:
        gate: bounds on metrics; None for those of the model.
        tolerance: the bound on each element; None for that of the model.
        floor: an absolute difference, in the output's units. If no element differs by more, the output passes.
    """

    gate: Gate | None = None
    tolerance: Tolerance | None = None
    floor: float = 0.0


@dataclass(frozen=True)
class Limits:
    """The conditions that every output must meet.

    Attributes:
        gate: bounds on the metrics of the whole output.
        tolerance: bound on each element; None for no bound.
        target: the number type in which the artifact computes.
        kinds: output -> kind of its values. Each kind has its own metrics, and may have its own gate.
        of_kind: kind -> the gate that replaces `gate` and `tolerance`; None for the gates of `target`.
        own: output -> the limits that the user sets for it.
        floor: an absolute difference, in the output's units. If no element differs by more, the output passes.
        spare: the condition under which an output passes with a warning if it misses the ratio alone.
    """

    gate: Gate
    tolerance: Tolerance | None = None
    target: Target = Target.fp32
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    of_kind: Mapping[Kind, Gate] | None = None
    own: Mapping[str, OwnLimits] = field(default_factory=dict)
    floor: float = 0.0
    spare: Spare | None = None

    def of(self, output: str, kind: Kind | None = None) -> Limits:
        """Return the limits of one output: those of its kind, replaced by the user's where the user set some.

        Args:
            output: the output's name.
            kind: the kind of its values, if the values showed it; None for the declared kind.
        """
        found = self._of_kind(self.kinds.get(output, Kind.any) if kind is None else kind)
        own = self.own.get(output)
        if own is None:
            return found
        gate = found.gate if own.gate is None else own.gate
        tolerance = found.tolerance if own.tolerance is None or self.tolerance is None else own.tolerance
        spare = found.spare if own.gate is None else None  # a gate that the user states is not relaxed
        return replace(found, gate=gate, tolerance=tolerance, floor=own.floor, spare=spare)

    def _of_kind(self, kind: Kind) -> Limits:
        of_kind = gates_of_kinds(self.target) if self.of_kind is None else self.of_kind
        if kind not in of_kind:
            return self
        # f0 and phases are computed in float32 in every precision, so coarser rounding does not explain an error.
        target = Target.fp32 if kind in (Kind.f0, Kind.phase) else self.target
        return replace(self, gate=of_kind[kind], tolerance=None, target=target, of_kind=of_kind)


@dataclass(frozen=True)
class Fault:
    """The reason why an output does not meet its limits.

    Attributes:
        output: the output's name.
        text: one sentence without its full stop: what is wrong, and the worst element.
        finite: False if values are not finite where those of the reference are.
        facts: details as JSON data: `index` (of the worst element), `actual`, `reference`, `failing` (number of
            elements outside the tolerance), `total` (number of elements), `percentiles` (of the absolute error),
            `snr_db` in dB; or only `shapes` if the shapes differ.
    """

    output: str
    text: str
    finite: bool = True
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """The result of comparing one output with its reference.

    Attributes:
        figures: metric -> value, over the elements at which the reference is finite. If the shapes differ, or the
            output is not finite where the reference is, each metric has its worst possible value.
        missed: the bounds of the gate that the figures do not meet.
        fault: the reason of a failure; None if the output meets its limits.
        warning: a sentence on an output that passes although it misses a bound of its gate; empty if there is none.
    """

    figures: Mapping[str, float]
    missed: tuple[Miss, ...] = ()
    fault: Fault | None = None
    warning: str = ""


@dataclass(frozen=True)
class Judged:
    """The results of comparing all outputs of one case.

    Attributes:
        outputs: output -> the result of its comparison.
        case: the case.
        how: the runtime that computed the outputs, for messages.
    """

    outputs: Mapping[str, Comparison]
    case: Case
    how: str

    @property
    def fault(self) -> Fault | None:
        """The fault of the first output that has one; None if all outputs meet their limits."""
        return first_fault(self.outputs)

    @property
    def figures(self) -> dict[str, float]:
        """The worst value of each metric over all outputs."""
        return worst(comparison.figures for comparison in self.outputs.values())

    @property
    def warnings(self) -> list[str]:
        """One sentence for each output that passes although it misses a bound of its gate."""
        found = (comparison.warning for comparison in self.outputs.values())
        return [f"Case {self.case.name}, {self.how}: {warning}" for warning in found if warning]

    def facts(self) -> dict[str, Any]:
        """Return the case and its figures as JSON data."""
        figures = {name: figure.plain(comparison.figures) for name, comparison in self.outputs.items()}
        return {"case": self.case.name, **self.case.facts(), "how": self.how, "outputs": figures}

    def check(self, advice: Advice, remark: str = "") -> None:
        """Raise an error if an output has a fault.

        Args:
            advice: the hints of the error.
            remark: a further clause of the message; empty for none.

        Raises:
            VerificationError: an output does not meet its limits.
        """
        fault = self.fault
        if fault is not None:
            raise VerificationError(
                f"Case {self.case.name}, {self.how}: {fault.text}{'; ' if remark else ''}{remark}.",
                hint=advice.values if fault.finite else advice.not_finite,
            )


@dataclass(frozen=True)
class Advice:
    """The hints of a verification error.

    Attributes:
        values: the hint if values differ too much.
        not_finite: the hint if values are not finite.
    """

    values: str
    not_finite: str


def judge(case: Case, how: str, actual: Outputs, expected: Outputs, limits: Limits) -> Judged:
    """Compare all outputs of one case with the expected ones. `how` names the runtime that computed `actual`."""
    return Judged(compare_outputs(actual, expected, limits), case, how)


def compare_outputs(actual: Outputs, expected: Outputs, limits: Limits) -> dict[str, Comparison]:
    """Compare each output of `expected` with the one of the same name in `actual`, and return output -> result."""
    return {name: compare(name, actual[name], values, limits) for name, values in expected.items()}


def first_fault(outputs: Mapping[str, Comparison]) -> Fault | None:
    """Return the first fault in the order of the outputs; None if there is none."""
    return next((one.fault for one in outputs.values() if one.fault is not None), None)


def compare(output: str, actual: Array, reference: Array, limits: Limits) -> Comparison:
    """Compare one output with its reference.

    - Where the reference is NaN, any value passes, because there is nothing to compare with. Where the reference is
      infinite, the output must have the same infinity. Elsewhere the output must be finite and meet the limits.
    - A difference counts as rounding if it is at most `UNITS` units in the last place of the element or of the output's
      root mean square, or at most `UNIT_SCALE`. If all differences count as rounding, bounds on ratios (metrics whose
      unit is not the output's) are not applied.
    - No bound is applied if no element differs by more than the user's `floor`.
    - An output that is a distribution over classes, such as a softmax, gets the metrics and the gate of `Kind.classes`.

    Args:
        output: the output's name, for the message.
        actual: the artifact's values, of any floating-point or integer type.
        reference: the expected values.
        limits: the conditions to meet.
    """
    kind = limits.kinds.get(output, Kind.any)
    if kind is Kind.any and is_distribution(reference):
        kind = Kind.classes
    limits = limits.of(output, kind)
    limits = replace(limits, gate=for_length(kind, limits.gate, reference.shape[-1] if reference.ndim else 1))
    if actual.shape != reference.shape:
        text = f"{output} has shape {actual.shape}, the reference {reference.shape}"
        fault = Fault(output, text, facts={"shapes": [list(actual.shape), list(reference.shape)]})
        return _lost(limits, fault)
    a, r = np.asarray(actual, np.float64), np.asarray(reference, np.float64)
    finite = np.isfinite(r)
    wrong = np.where(finite, ~np.isfinite(a), np.isinf(r) & (a != r))
    if wrong.any():
        return _lost(limits, _not_finite(output, a, r, wrong))
    pair = (a, r) if finite.all() else (a[finite], r[finite])
    figures = measure(*pair, kind)
    # If the reference is zero everywhere, ratios to it are not defined. The tolerance still bounds each element.
    silent = limits.tolerance is not None and not pair[1].any()
    missed = () if silent else tuple(misses(figures, limits.gate))
    error = _error(a, r, finite)
    allowed = None if limits.tolerance is None else limits.tolerance.allowed(r)
    failing = 0 if allowed is None else int(np.count_nonzero(error > allowed))
    warning = ""
    # A token is an index, so a different token is not a rounding error.
    resolution = 0.0 if kind is Kind.tokens else RESOLUTION[limits.target]
    if missed and (error <= np.maximum(UNIT_SCALE, rounding := _rounding(r, finite, resolution))).all():
        missed = tuple(miss for miss in missed if METRICS[miss.metric].unit == "output")
        warning = "" if (error <= rounding).all() else _unit_scale(output, r[finite], error, figures["snr_db"])
    if missed and limits.spare is not None and limits.spare.accepts(missed, *pair):
        missed = ()
        warning = (
            f"{output} has snr_db {figures['snr_db']:.1f} dB where {limits.gate['snr_db']:g} dB is usual, and each "
            "element is within its tolerance"
        )
    if limits.floor and (error <= limits.floor).all():
        missed, failing = (), 0
    if not missed and not failing:
        return Comparison(figures, warning=warning)
    index = _largest(error if allowed is None else error - allowed)
    words = [f"{failing} of {error.size} elements outside {limits.tolerance}"] if failing else []
    facts = _facts(index, a, r, failing, error, figures["snr_db"])
    spread = ", ".join(f"{name} {value:.3g}" for name, value in facts["percentiles"].items())
    text = (
        f"{output} has {'; '.join([*words, *map(str, missed)])}. The worst element {output}{list(index)} is "
        f"{a[index]:.9g}, the reference {r[index]:.9g}: apart by {error[index]:.3g}"
        f"{'' if allowed is None else f' where {allowed[index]:.3g} is allowed'}; error {spread}"
    )
    return Comparison(figures, missed, Fault(output, text, facts=figure.plain(facts)))


def _rounding(r: Array, finite: Array, resolution: float) -> Array:
    """Return the difference that rounding may cause in each element.

    It is `UNITS` units in the last place of the element or of the rms of all elements, whichever is larger.
    """
    sizes = np.where(finite, np.abs(r), 0.0)
    rms = float(np.sqrt(np.mean(sizes[finite] ** 2))) if finite.any() else 0.0
    result: Array = UNITS * resolution * np.maximum(sizes, rms)
    return result


def _unit_scale(output: str, reference: Array, error: Array, snr_db: float) -> str:
    return (
        f"{output} is at most {np.abs(reference).max():.3g}, and differs by at most {error.max():.3g}, which float32 "
        f"rounds away in values of size 1; its signal-to-noise ratio of {snr_db:.1f} dB was not required"
    )


def _lost(limits: Limits, fault: Fault) -> Comparison:
    figures = lost()
    return Comparison(figures, tuple(misses(figures, limits.gate)), fault)


def _not_finite(output: str, a: Array, r: Array, wrong: Array) -> Fault:
    index = _largest(wrong)
    kind = "finite where the reference is infinite" if np.isfinite(a[index]) else "NaN or infinite"
    text = (
        f"{int(wrong.sum())} of {wrong.size} values of {output} are {kind}, and their reference is not: the first is "
        f"{output}{list(index)}, which is {a[index]:.9g}, the reference {r[index]:.9g}"
    )
    error = np.where(wrong, np.inf, _error(a, r, np.isfinite(r) & ~wrong))
    facts = _facts(index, a, r, int(wrong.sum()), error, float("nan"))
    return Fault(output, text, finite=False, facts=figure.plain(facts))


def _facts(index: tuple[int, ...], a: Array, r: Array, failing: int, error: Array, snr_db: float) -> dict[str, Any]:
    percentiles = {f"p{p}": float(np.percentile(error, p, method="higher")) for p in PERCENTILES}
    return {"index": list(index), "actual": float(a[index]), "reference": float(r[index]), "failing": failing,
            "total": int(error.size), "percentiles": percentiles, "snr_db": snr_db}  # fmt: skip


def _error(a: Array, r: Array, where: Array) -> Array:
    """Return |a - r| where `where` is True, and zero elsewhere."""
    difference = np.zeros(r.shape)
    np.subtract(a, r, out=difference, where=where)
    return np.abs(difference)


def _largest(values: Array) -> tuple[int, ...]:
    """Return the first index of the largest value."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(values)), values.shape))
