"""PyTorch's random draws on the CPU, without PyTorch.

The generator is MT19937 with the seeding of its authors (Matsumoto and Nishimura, 1998; `init_genrand`). Uniform
draws are equal to `torch.rand` bit for bit. Normal draws follow `torch.randn`: Box and Muller's transform on blocks of
16 values, with the angle rounded as PyTorch's AVX2 kernel does. PyTorch's own results differ between processors by up
to 3e-6, because its logarithm, sine and cosine are approximations and other kernels round the angle in another way. The
draws here differ by a few units in the last place from those with AVX2, and by up to 3e-6 from the others.
"""

from __future__ import annotations

import numpy as np

from cosybuild.runtime.voice.arrays import Array

BLOCK = 16
"""Values of one block of the transform."""

_STATE = 624
_MULTIPLIER = 1812433253
_WORD = 0xFFFFFFFF
_TURN = np.float32(2 * np.pi)
# Values that are transformed at a time; the temporary arrays are then a few megabytes.
_PIECE = 1 << 16


class Generator:
    """The draws that follow `torch.manual_seed(seed)` on the CPU.

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
        """Return `count` float32 values of [0, 1), as `torch.rand(count)` does."""
        # A float32 holds 24 bits.
        bits = np.asarray(self._words.random_raw(count)) & 0xFFFFFF
        made: Array = bits.astype(np.float32) * np.float32(2.0**-24)
        return made

    def normal(self, count: int) -> Array:
        """Return `count` float32 values, as `torch.randn(count)` does.

        With equal seeds, a first draw of m values and a first draw of n > m values have the same first m values, if m
        and n are multiples of 16.
        """
        if count < BLOCK:
            return self._few(count)
        made = np.empty(count, np.float32)
        whole = count - count % BLOCK
        for begin in range(0, whole, _PIECE):
            end = min(begin + _PIECE, whole)
            made[begin:end] = _transformed(self.uniform(end - begin))
        # The values after the last block were drawn too, and then the last 16 values are drawn again.
        if whole < count:
            self.uniform(count - whole)
            made[-BLOCK:] = _transformed(self.uniform(BLOCK))
        return made

    def _few(self, count: int) -> Array:
        """Return fewer values than a block has. PyTorch draws pairs in float64, and keeps an unused second value."""
        pairs = (count - len(self._kept) + 1) // 2
        words = np.asarray(self._words.random_raw(4 * pairs)).astype(np.uint64).reshape(pairs, 2, 2)
        whole = (words[:, :, 0] << np.uint64(32)) | words[:, :, 1]
        first, second = ((whole & np.uint64((1 << 53) - 1)).astype(np.float64) * 2.0**-53).T
        radius, angle = np.sqrt(-2.0 * np.log1p(-second)), 2.0 * np.pi * first
        drawn = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
        made, self._kept = np.split(np.concatenate((self._kept, drawn)), [count])
        return made.astype(np.float32)


def _transformed(uniform: Array) -> Array:
    """Transform blocks of uniform values: eight radii and eight angles become eight cosines and eight sines."""
    blocks = uniform.reshape(-1, 2, BLOCK // 2)
    # Each result is rounded to float32 where PyTorch rounds; the angle's rounding decides all digits of the sine.
    logarithm = np.log((np.float32(1) - blocks[:, 0]).astype(np.float64)).astype(np.float32)
    radius = np.sqrt(np.float32(-2) * logarithm)
    angle = (_TURN * blocks[:, 1]).astype(np.float64)
    made = np.empty_like(blocks)
    made[:, 0] = radius * np.cos(angle).astype(np.float32)
    made[:, 1] = radius * np.sin(angle).astype(np.float32)
    return made.reshape(-1)
