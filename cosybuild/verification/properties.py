"""The properties that an estimator's artifact must have for all weights, with the bounds of their tests.

`experiments.py` and `property_checks.py` test them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cosybuild import figure
from cosybuild.config.groups.precision import Target
from cosybuild.numerics.gates import LOWERED
from cosybuild.numerics.inputs import Array

LEAST_CHANGE = 1e-7
"""The smallest relative change that proves that an output depends on an input. Without a dependence, the change is
0.
"""

MOST_CHANGE = {"float32": 1e-5, "float16": 5e-3, "bfloat16": 4e-2}
"""Computation type -> largest allowed relative change of an output part that must stay the same, if both runs have the
same sizes.

With the same sizes, the same operations run on the same values in the same order. Every measured change was exactly 0,
with 1, 3 and 4 threads. The bounds (80 roundings of one element in float32, 5 in the 16-bit types) allow for kernels
that are not deterministic.
"""

MOST_CHANGE_RESIZED = {
    "float32": 1e-3,
    "float16": LOWERED[Target.fp16]["max_rel"],
    "bfloat16": LOWERED[Target.bf16]["max_rel"],
}
"""The same bound, if the two runs have different batch sizes.

Kernels divide their work by sizes and threads. So a row's sums are added in another order, and the row may change by
the whole rounding error of the type. Measured: 1.7e-6 with 3 threads, and 6.1e-6 in PyTorch. The largest measured
float32 error of an element was 8.8e-5 of the rms (the tiny models in PyTorch, against float64). Two computations may
err in opposite directions, which doubles the change; a further factor of 5 allows for other weights. In the 16-bit
types the bound is the gate on one call of a lowered graph. A wrong row differs by more than 1.
"""


@dataclass(frozen=True)
class Property:
    """One property of the contract.

    Attributes:
        name: the name in reports and messages.
        says: the property in words.
        must_change: True if the change must exceed LEAST_CHANGE; False if the change must stay within a bound.
        resized: True if the compared runs have different sizes, so that the bound is MOST_CHANGE_RESIZED; else it is
            MOST_CHANGE.
    """

    name: str
    says: str
    must_change: bool = False
    resized: bool = False


PROPERTIES = {
    item.name: item
    for item in (
        Property("interface", "names, order, types and axes agree with the declaration"),
        Property("norms", "every layer normalisation has the model's epsilon"),
        Property("axes", "every dynamic axis accepts other sizes, and the outputs have matching sizes"),
        Property("finite", "the output of finite inputs is finite"),
        Property("independent_rows", "a row of the batch does not change another row"),
        Property("zero_row", "row 0 of a guidance pair does not change row 1, whose mu, spks and cond are zero"),
        Property("row_order", "exchanging two rows exchanges their outputs"),
        Property("batch_size", "a row has the same output in a larger batch", resized=True),
        Property("masked_frames", "masked frames do not change valid frames"),
        Property("mask_used", "masking frames changes the valid frames", must_change=True),
        Property("inputs_used", "each of x, mu, t, spks and cond changes the output", must_change=True),
        Property("future_chunks", "a later chunk does not change an earlier chunk"),
        Property(
            "attention_span", "the first frame sees the last frame of its chunk, or of all frames", must_change=True
        ),
        Property("in_place", "the output is the same if it overwrites x"),
    )
}


@dataclass(frozen=True)
class Finding:
    """The result of testing one property.

    Attributes:
        name: the property's name.
        tried: the exchanged inputs and the compared part of the output, in words.
        value: largest change of one element divided by the output's root mean square; for `interface`, `norms`, `axes`
            and `finite` the number of faults.
        bound: the largest allowed value; if `must_change`, the value that must be exceeded.
        faults: one phrase for each fault; empty if `value` is a change.
    """

    name: str
    tried: str
    value: float
    bound: float
    faults: tuple[str, ...] = ()

    @property
    def must_change(self) -> bool:
        return PROPERTIES[self.name].must_change

    @property
    def holds(self) -> bool:
        return self.value > self.bound if self.must_change else self.value <= self.bound

    def __str__(self) -> str:
        which = f"{self.name} ({PROPERTIES[self.name].says})"
        if self.faults:
            return f"{which} does not hold, {self.tried}: {'; '.join(self.faults)}"
        expected = "more than" if self.must_change else "at most"
        return (
            f"{which} does not hold, {self.tried}: the largest change is {self.value:.3g} of the output's rms, "
            f"{expected} {self.bound:g} is expected"
        )

    def facts(self) -> dict[str, Any]:
        """Return the finding as JSON data."""
        facts = {"property": self.name, "tried": self.tried, "value": figure.plain(self.value), "bound": self.bound}
        return {**facts, "faults": list(self.faults), "must_change": self.must_change, "holds": self.holds}


def counted(name: str, tried: str, faults: Sequence[str]) -> Finding:
    """Return the finding of a test that counts faults. The property holds if there are none."""
    return Finding(name, tried, float(len(faults)), 0.0, tuple(faults))


def change(actual: Array, expected: Array) -> float:
    """Return max |actual - expected| / rms(expected), without unit; infinity if any value is not finite."""
    a, e = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    if not (np.isfinite(a).all() and np.isfinite(e).all()):
        return float("inf")
    rms = float(np.sqrt(np.mean(e**2))) if e.size else 0.0
    largest = float(np.max(np.abs(a - e), initial=0.0))
    return largest / rms if rms > 0 else (0.0 if largest == 0 else float("inf"))
