"""PyTorch's random numbers on the CPU, computed without PyTorch.

The generator is MT19937 with the seeding of its authors (Matsumoto and Nishimura, 1998; `init_genrand`). Uniform
numbers are equal to those of `torch.rand` bit for bit. Normal numbers follow `torch.randn`: the Box-Muller transform on
blocks of 16 values, with the angle rounded as in PyTorch's AVX2 kernel. PyTorch's own results differ between processors
by up to 3e-6, because it approximates logarithm, sine and cosine, and its other kernels round the angle differently.
The numbers of this module differ by a few units in the last place from PyTorch's with AVX2, and by up to 3e-6 from
PyTorch's with other kernels.
"""

from __future__ import annotations

import numpy as np

from cosybuild.runtime.voice.arrays import Array

BLOCK = 16
"""Number of values that the Box-Muller transform takes at a time."""

_STATE = 624
_MULTIPLIER = 1812433253
_WORD = 0xFFFFFFFF
_TURN = np.float32(2 * np.pi)
# Number of values that are transformed in one numpy call, so that the temporary arrays take only a few megabytes.
_PIECE = 1 << 16


class Generator:
    """A generator of the numbers that PyTorch draws on the CPU after `torch.manual_seed(seed)`.

    Args:
        seed: 0 or more; PyTorch uses its last 32 bits.
    """

    def __init__(self, seed: int) -> None:
        key = [seed & _WORD]
        for index in range(1, _STATE):
            last = key[-1]
            key.append((_MULTIPLIER * (last ^ (last >> 30)) + index) & _WORD)
        self._kept = np.zeros(0)
        self._words = np.random.MT19937()
        self._words.state = {
            "bit_generator": "MT19937",
            "state": {"key": np.array(key, np.uint32), "pos": _STATE},
        }

    def uniform(self, count: int) -> Array:
        """Return `count` float32 values in [0, 1), as `torch.rand(count)` does."""
        # The mantissa of a float32 holds 24 bits.
        bits = np.asarray(self._words.random_raw(count)) & 0xFFFFFF
        made: Array = bits.astype(np.float32) * np.float32(2.0**-24)
        return made

    def normal(self, count: int) -> Array:
        """Return `count` float32 values of the standard normal distribution, as `torch.randn(count)` does.

        With the same seed, the first call returns the same first m values for every `count` of at least m, if m and
        `count` are multiples of 16.
        """
        if count < BLOCK:
            return self._few(count)
        made = np.empty(count, np.float32)
        whole = count - count % BLOCK
        for begin in range(0, whole, _PIECE):
            end = min(begin + _PIECE, whole)
            made[begin:end] = _transformed(self.uniform(end - begin))
        # As in PyTorch, the values after the last whole block are drawn too, and then the last 16 values are drawn
        # again.
        if whole < count:
            self.uniform(count - whole)
            made[-BLOCK:] = _transformed(self.uniform(BLOCK))
        return made

    def _few(self, count: int) -> Array:
        """Return fewer values than a block has.

        PyTorch then draws pairs in float64 and keeps an unused second value.
        """
        pairs = (count - len(self._kept) + 1) // 2
        words = np.asarray(self._words.random_raw(4 * pairs)).astype(np.uint64).reshape(pairs, 2, 2)
        whole = (words[:, :, 0] << np.uint64(32)) | words[:, :, 1]
        first, second = ((whole & np.uint64((1 << 53) - 1)).astype(np.float64) * 2.0**-53).T
        radius, angle = np.sqrt(-2.0 * np.log1p(-second)), 2.0 * np.pi * first
        drawn = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
        made, self._kept = np.split(np.concatenate((self._kept, drawn)), [count])
        return made.astype(np.float32)


def _transformed(uniform: Array) -> Array:
    """Apply the Box-Muller transform to blocks of uniform values.

    Eight values of a block give radii and eight give angles; the results are eight cosines and eight sines.
    """
    blocks = uniform.reshape(-1, 2, BLOCK // 2)
    # Round to float32 at the same places as PyTorch. The rounding of the angle affects all digits of the sine.
    logarithm = np.log((np.float32(1) - blocks[:, 0]).astype(np.float64)).astype(np.float32)
    radius = np.sqrt(np.float32(-2) * logarithm)
    angle = (_TURN * blocks[:, 1]).astype(np.float64)
    made = np.empty_like(blocks)
    made[:, 0] = radius * np.cos(angle).astype(np.float32)
    made[:, 1] = radius * np.sin(angle).astype(np.float32)
    return made.reshape(-1)
