"""The phases of the harmonics at the borders between frames: a sum over all earlier frames that keeps its precision.

The argument of the highest sine grows to a million radians in a minute. A float32 sum of that size would have an error
of up to one radian. A sine depends only on the fractional part of its argument in cycles. Each summand is therefore
split into three parts without whole cycles, which float32 adds without rounding, in any order. The graph needs no
float64, which TensorRT would convert to float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

COARSE = 2.0**-10
"""The unit, in cycles, of the first part, which is less than one cycle. Sums of 2^14 frames are exact in float32."""

FINE = 2.0**-20
"""The unit, in cycles, of the second part, which is less than 2 * `COARSE`. The third part is less than `FINE`.

Sums of the second part over 2^13 frames (164 s at 50 frames per second) are exact in float32. Longer sums are nearly
always exact, because the mean of the part is half of the largest value.
"""

Parts = tuple[Tensor, Tensor, Tensor]
"""A number of cycles as the sum of three parts, as the module explains."""


def fraction(cycles: Tensor) -> Tensor:
    """Return x - floor(x), in [0, 1]. The operator Mod is avoided, because older parsers of ONNX do not have it."""
    return cycles - torch.floor(cycles)


def advances(f0: Tensor, seconds: float, harmonics: int) -> Parts:
    """Return the cycles by which the phase of each harmonic grows in each frame, without whole cycles, in three parts.

    f0 = f1 + f2, where f1 is an integer. `seconds` = c = c1 + c2 + c3, where c1 is a multiple of `COARSE`, c2 is a
    multiple of `FINE`, and c3 is the remainder. The products f1 c1 and f1 c2 are then exact in float32 (below 1024 Hz,
    for up to 16 harmonics). The rest, f1 c3 + f2 c, is small, so its rounding error is small too.

    Args:
        f0: (B, 1, T), in Hz.
        seconds: length of a frame.
        harmonics: number of sines; the first one has the frequency f0.

    Returns:
        Three tensors (B, harmonics, T) without negative values: multiples of `COARSE` in [0, 1], multiples of `FINE`
        below 2 * `COARSE`, and numbers below `FINE`.
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
    """Return, for each part (B, harmonics, T), its sums over the frames before each border, (B, harmonics, T + 1)."""
    joined = torch.cat(parts, dim=1)  # one CumSum for all parts
    sums = torch.cat([torch.zeros_like(joined[:, :, :1]), torch.cumsum(joined, dim=2)], dim=2)
    first, second, third = sums.chunk(3, dim=1)
    return first, second, third


def phases(sums: Parts, phase: Tensor, frame: Tensor) -> Tensor:
    """Return the phases (B, harmonics, T + 1) in cycles at the frames' borders, in [0, 1].

    Args:
        sums: the result of `running_sums`.
        phase: (B, harmonics), in cycles: the known phase at the start of frame `frame`.
        frame: (1,) int64.
    """
    # Each part is subtracted from the same part of the other sum, which is exact.
    first, second, third = (part - part.index_select(2, frame) for part in sums)
    return fraction(fraction(first) + (fraction(second) + third + phase.unsqueeze(2)))


def _multiple(x: Tensor, unit: float) -> Tensor:
    return torch.floor(x * (1 / unit)) * unit
