"""The gate: whether two arrays are close enough, and a full account where they are not."""

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
    """|actual - reference| <= atol * scale + rtol * |reference|, and every value finite.

    Attributes:
        rtol: without unit.
        atol: in the output's units.
        scaled: scale is the reference's root mean square where that exceeds 1, so that weights which
            give larger outputs have the rounding errors of larger outputs; else scale is 1.
        snr_db: smallest signal-to-noise ratio of the whole array, in dB. It sees a small error that is
            everywhere, which no element gives away. A reference that is zero throughout has none.
    """

    rtol: float
    atol: float
    scaled: bool = False
    snr_db: float | None = None

    def allowed(self, reference: Array) -> Array:
        """How far apart each element may be, in the output's units; atol alone where the reference is not finite."""
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
    """Why an output did not pass.

    Attributes:
        index: the element that leaves the gate furthest behind.
        actual, reference: its two values.
        allowed: how far apart they may be, in the output's units.
        failing, total: number of elements outside the gate, and of all.
        percentiles: percent -> |actual - reference| over all elements; infinite where not finite.
        snr_db: signal-to-noise ratio of the whole, in dB.
        shapes: the two shapes, where they already differ (all other figures are then zero or empty).
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
        """One sentence for people."""
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
        """Return the same as plain JSON data."""
        percentiles = {f"p{percent}": value for percent, value in self.percentiles.items()}
        return {name: figure.plain(value) for name, value in {**asdict(self), "percentiles": percentiles}.items()}


def compare(actual: Array, reference: Array, tolerance: Tolerance) -> Mismatch | None:
    """None where every element passes."""
    if actual.shape != reference.shape:
        return Mismatch((), 0.0, 0.0, 0.0, 0, reference.size, {}, shapes=(actual.shape, reference.shape))
    a, r = np.asarray(actual, np.float64), np.asarray(reference, np.float64)
    with np.errstate(invalid="ignore"):
        error = np.abs(a - r)
    allowed = tolerance.allowed(r)
    # A reference that is not finite can confirm nothing, so it fails like an actual value would.
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
