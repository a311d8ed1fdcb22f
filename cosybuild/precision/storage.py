"""The 16-bit types to which tensors are lowered, with the limits that the rules use."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cosybuild.config.groups.precision import Target


@dataclass(frozen=True)
class Storage:
    """A floating-point type of 16 bits.

    Attributes:
        name: ONNX's name of the type, e.g. `FLOAT16`.
        suffix: suffix of the names of tensors in this type, e.g. `fp16`.
        bits: number of explicitly stored bits of the significand.
        max: largest finite number.
        smallest_normal: smallest normal number; smaller (subnormal) numbers have fewer significant bits.
        smallest: smallest positive number.
    """

    name: str
    suffix: str
    bits: int
    max: float
    smallest_normal: float
    smallest: float

    def step(self, magnitude: float) -> float:
        """Return the distance between a number of this magnitude and the next larger number of the type."""
        if magnitude < self.smallest_normal:
            return self.smallest
        return 2.0 ** (math.floor(math.log2(magnitude)) - self.bits)

    @property
    def exact_integers(self) -> int:
        """The largest n such that this type represents every integer from 0 to n."""
        return int(2 ** (self.bits + 1))

    @property
    def masked(self) -> float:
        """The number that an additive mask adds to a score to hide it. It is finite.

        It is minus half of the largest power of two of the type. exp(masked) is zero in every type. A score of up to
        the same magnitude can be added without an overflow.
        """
        return -(2.0 ** math.floor(math.log2(self.max)) / 2)


FP16 = Storage("FLOAT16", "fp16", 10, 65504.0, 2.0**-14, 2.0**-24)
BF16 = Storage("BFLOAT16", "bf16", 7, (2 - 2.0**-7) * 2.0**127, 2.0**-126, 2.0**-133)

_STORAGES = {Target.fp16: FP16, Target.bf16: BF16, Target.mixed: FP16}


def storage_of(target: Target) -> Storage | None:
    """Return the 16-bit type to which the target precision lowers tensors; None if the graph stays in float32."""
    return _STORAGES.get(target)
