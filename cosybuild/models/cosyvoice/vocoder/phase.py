"""The phases of the harmonics at the frames' borders: a sum over all frames that does not lose precision.

The argument of the highest sine grows to a million radians in a minute. If float32 summed it, the sum would then have
an error of up to one radian. A sine depends only on the fraction of a cycle in its argument, so each summand is split
into parts that float32 adds without rounding, in any order. The graph needs no float64, which TensorRT would read as
float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

COARSE = 2.0**-10
"""The unit of the first part, which is below one cycle. Sums of 2^14 frames are exact in float32."""

FINE = 2.0**-20
"""The unit of the second part, which is below 2 * `COARSE`. Sums of 2^13 frames (164 s at 50 frames per second) are
exact in float32. Longer sums are nearly always exact, because the mean of the part is half of the largest value. The
third part is below `FINE`."""

Parts = tuple[Tensor, Tensor, Tensor]


def fraction(cycles: Tensor) -> Tensor:
    """Return x - floor(x), in [0, 1]. Older parsers of ONNX have no Mod."""
    return cycles - torch.floor(cycles)


def advances(f0: Tensor, seconds: float, harmonics: int) -> Parts:
    """Return the cycles that each harmonic advances in one frame, without whole cycles, as a sum of three parts.

    f0 is f1 + f2, where f1 is a whole number. c = `seconds` is c1 + c2 + c3, where c1 is a multiple of `COARSE`, c2 one
    of `FINE`, and c3 the rest. Then f1 c1 and f1 c2 are exact in float32 (below 1024 Hz, for up to 16 harmonics).
    f1 c3 + f2 c is small, and so is its rounding error.

    Args:
        f0: (B, 1, T), in Hz.
        seconds: length of a frame.
        harmonics: number of sines; the first one has f0 itself.

    Returns:
        Three tensors (B, harmonics, T): a multiple of `COARSE` in [0, 1], a multiple of `FINE` below 2 `COARSE`, and a
        number below `FINE`; none is negative.
    """
    coarse = round(seconds / COARSE) * COARSE
    fine = round((seconds - coarse) / FINE) * FINE
    multiples = torch.arange(1, harmonics + 1, dtype=f0.dtype, device=f0.device).reshape(1, harmonics, 1)
    whole = torch.floor(f0)
    first = fraction(whole * coarse) * multiples
    second = (whole * fine) * multiples
    third = (whole * (seconds - coarse - fine) + (f0 - whole) * seconds) * multiples
    second_coarse, third_coarse = _multiple(second, COARSE), _multiple(third, COARSE)
    third = third - third_coarse
    third_fine = _multiple(third, FINE)
    return (
        fraction(first + (second_coarse + third_coarse)),
        (second - second_coarse) + third_fine,
        third - third_fine,
    )


def running_sums(parts: Parts) -> Parts:
    """Return, for each part, the sum before every frame and the sum of all frames: (B, harmonics, T + 1)."""
    joined = torch.cat(parts, dim=1)  # one CumSum for all parts
    sums = torch.cat([torch.zeros_like(joined[:, :, :1]), torch.cumsum(joined, dim=2)], dim=2)
    first, second, third = sums.chunk(3, dim=1)
    return first, second, third


def phases(sums: Parts, phase: Tensor, frame: Tensor) -> Tensor:
    """Return the phases (B, harmonics, T + 1) in cycles at the frames' borders, in [0, 1].

    Args:
        sums: result of `running_sums`.
        phase: (B, harmonics), in cycles: the phase at the border in front of `frame`.
        frame: (1,) int64.
    """
    # Coarse parts are subtracted from coarse ones and so on, which is exact.
    first, second, third = (part - part.index_select(2, frame) for part in sums)
    return fraction(fraction(first) + (fraction(second) + third + phase.unsqueeze(2)))


def _multiple(x: Tensor, unit: float) -> Tensor:
    return torch.floor(x * (1 / unit)) * unit
