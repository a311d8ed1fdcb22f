"""The number types that tensors are lowered to, with the figures that the rules are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cosybuild.config.groups.precision import Target


@dataclass(frozen=True)
class Storage:
    """A floating-point type of 16 bits.

    Attributes:
        name: ONNX's name, e.g. `FLOAT16`.
        suffix: what copies of a tensor in this type are called after, e.g. `fp16`.
        bits: explicitly stored bits of the significand.
        max: largest finite number.
        smallest_normal: below it, digits are lost one by one.
        smallest: smallest number above zero.
    """

    name: str
    suffix: str
    bits: int
    max: float
    smallest_normal: float
    smallest: float

    def step(self, magnitude: float) -> float:
        """The distance between neighbouring numbers at `magnitude`."""
        if magnitude < self.smallest_normal:
            return self.smallest
        return 2.0 ** (math.floor(math.log2(magnitude)) - self.bits)

    @property
    def exact_integers(self) -> int:
        """Every integer up to this one is a number of this type."""
        return int(2 ** (self.bits + 1))

    @property
    def masked(self) -> float:
        """What an additive mask adds to a hidden score: finite, and with room for the score.

        Half the binade below the largest number: exp(masked) is zero in every type, and a score of up to
        the same magnitude can be added without leaving the range.
        """
        return -(2.0 ** math.floor(math.log2(self.max)) / 2)


FP16 = Storage("FLOAT16", "fp16", 10, 65504.0, 2.0**-14, 2.0**-24)
BF16 = Storage("BFLOAT16", "bf16", 7, (2 - 2.0**-7) * 2.0**127, 2.0**-126, 2.0**-133)

_STORAGES = {Target.fp16: FP16, Target.bf16: BF16, Target.mixed: FP16}


def storage_of(target: Target) -> Storage | None:
    """The type that `target` lowers to; None where the graph stays in float32."""
    return _STORAGES.get(target)
