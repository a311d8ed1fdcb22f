"""The element-wise tolerance between two arrays, and the description of a mismatch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cosybuild import figure
from cosybuild.numerics.metrics import snr_db

Array = np.ndarray[Any, np.dtype[Any]]

PERCENTILES = (50, 90, 99, 100)


@dataclass(frozen=True)
class Tolerance:
    """The condition |actual - reference| <= atol * scale + rtol * |reference|, with every value finite.

    Attributes:
        rtol: relative tolerance, without unit.
        atol: absolute tolerance, in the output's units.
        scaled: True if scale is the reference's root mean square, at least 1: weights that give larger outputs also
            give larger rounding errors. Else scale is 1.
        snr_db: smallest signal-to-noise ratio of the whole array, in dB, or None. It detects an error that is small
            in every element. It is not applied to a reference of zeros.
    """

    rtol: float
    atol: float
    scaled: bool = False
    snr_db: float | None = None

    def allowed(self, reference: Array) -> Array:
        """Return the allowed difference of each element, in the output's units.

        It is the absolute term alone for elements whose reference is not finite.
        """
        wide = np.asarray(reference, np.float64)
        finite = np.isfinite(wide)
        sizes = np.where(finite, np.abs(wide), 0.0)
        rms = float(np.sqrt(np.mean(sizes**2))) if wide.size else 0.0
        result: Array = self.atol * (max(1.0, rms) if self.scaled else 1.0) + self.rtol * sizes
        return result

    def __str__(self) -> str:
        ratio = "" if self.snr_db is None else f", at least {self.snr_db:g} dB"
        return f"rtol {self.rtol:g}, atol {self.atol:g}{' of the rms above 1' if self.scaled else ''}{ratio}"


@dataclass(frozen=True)
class Mismatch:
    """The description of an output that does not meet its tolerance.

    Attributes:
        index: the element that exceeds its allowed difference the most.
        actual: its value.
        reference: its expected value.
        allowed: its allowed difference, in the output's units.
        failing: number of elements outside the tolerance.
        total: number of all elements.
        percentiles: percent -> |actual - reference| over all elements; infinite for values that are not finite.
        snr_db: signal-to-noise ratio of the whole array, in dB.
        shapes: the actual and the expected shape if they differ, else None. If they differ, `total` is the reference's
            size, and all other figures are zero or empty.
    """

    index: tuple[int, ...]
    actual: float
    reference: float
    allowed: float
    failing: int
    total: int
    percentiles: dict[int, float]
    snr_db: float = 0.0
    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    def describe(self, output: str) -> str:
        """Return one sentence about the mismatch; `output` is the output's name."""
        if self.shapes is not None:
            return f"{output} has shape {self.shapes[0]}, the reference {self.shapes[1]}"
        spread = ", ".join(f"p{percent} {value:.3g}" for percent, value in self.percentiles.items())
        ratio = f"signal-to-noise ratio {self.snr_db:.1f} dB"
        gap = abs(self.actual - self.reference)
        return (
            f"{output}{list(self.index)} is {self.actual:.9g}, the reference {self.reference:.9g}: apart by "
            f"{gap:.3g} where {self.allowed:.3g} is allowed; {self.failing} of {self.total} elements fail"
            f"{', the whole does: ' if self.failing == 0 else '; '}{ratio}; error {spread}"
        )

    def facts(self) -> dict[str, Any]:
        """Return the mismatch as JSON data."""
        percentiles = {f"p{percent}": value for percent, value in self.percentiles.items()}
        return {name: figure.plain(value) for name, value in {**asdict(self), "percentiles": percentiles}.items()}


def compare(actual: Array, reference: Array, tolerance: Tolerance) -> Mismatch | None:
    """Compare two arrays; return None if they meet the tolerance."""
    if actual.shape != reference.shape:
        return Mismatch((), 0.0, 0.0, 0.0, 0, reference.size, {}, shapes=(actual.shape, reference.shape))
    a, r = np.asarray(actual, np.float64), np.asarray(reference, np.float64)
    with np.errstate(invalid="ignore"):
        error = np.abs(a - r)
    allowed = tolerance.allowed(r)
    # A reference that is not finite confirms nothing, so it fails like an actual value that is not finite.
    error[~(np.isfinite(a) & np.isfinite(r))] = np.inf
    failing = int(np.count_nonzero(error > allowed))
    ratio = snr_db(a, r) if np.isfinite(error).all() else float("nan")
    too_noisy = tolerance.snr_db is not None and r.any() and not ratio >= tolerance.snr_db
    if failing == 0 and not too_noisy:
        return None
    index = np.unravel_index(int(np.argmax(error - allowed)), error.shape)
    return Mismatch(
        index=tuple(int(i) for i in index),
        actual=float(a[index]),
        reference=float(r[index]),
        allowed=float(allowed[index]),
        failing=failing,
        total=int(error.size),
        percentiles={p: float(np.percentile(error, p, method="higher")) for p in PERCENTILES},
        snr_db=ratio,
    )
