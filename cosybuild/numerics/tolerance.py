"""The tolerance that bounds the difference of each element of two arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Tolerance:
    """A bound on each element: |actual - reference| <= atol * scale + rtol * |reference|.

    Attributes:
        rtol: relative tolerance, without unit.
        atol: absolute tolerance, in the output's units.
        scaled: if True, `scale` is the reference's root mean square, but at least 1, because larger outputs have larger
            rounding errors. If False, `scale` is 1.
    """

    rtol: float
    atol: float
    scaled: bool = False

    def allowed(self, reference: Array) -> Array:
        """Return the allowed difference of each element, in the output's units.

        Where the reference is not finite, it is the absolute term alone.
        """
        wide = np.asarray(reference, np.float64)
        finite = np.isfinite(wide)
        sizes = np.where(finite, np.abs(wide), 0.0)
        rms = float(np.sqrt(np.mean(sizes**2))) if wide.size else 0.0
        result: Array = self.atol * (max(1.0, rms) if self.scaled else 1.0) + self.rtol * sizes
        return result

    def __str__(self) -> str:
        return f"rtol {self.rtol:g}, atol {self.atol:g}{' of the rms above 1' if self.scaled else ''}"
