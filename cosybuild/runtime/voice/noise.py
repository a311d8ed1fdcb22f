"""The random numbers of a voice: the solver's initial state, and the noise and phases of the vocoder's source signal.

A seed gives the same numbers as PyTorch's functions after `torch.manual_seed(seed)` on the CPU; `random.py` computes
them.

- Initial state, CosyVoice 2 and 3: the first frames of the table `torch.randn(1, mel, 15000)`. Upstream draws this
  table with seed 0.
- Initial state, CosyVoice 1: `torch.randn(1, mel, T)`. Upstream draws it again for every utterance.
- Noise, CosyVoice 1 and 2: rows of `torch.randn(samples, harmonics)`. Upstream draws them again for every utterance.
- Noise, CosyVoice 3: rows of `torch.rand(samples, harmonics)`. Upstream keeps a table, which hift.pt does not contain;
  its values depend on everything that the process drew before. To repeat these values, pass the table.
- Phases, CosyVoice 1: `torch.rand(harmonics) - 1/2` in cycles, drawn before the noise, with 0 for the fundamental. In
  CosyVoice 2 and 3 all phases start with 0.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cosybuild.errors import ServingError, ShapeRefused
from cosybuild.runtime.voice.arrays import Array
from cosybuild.runtime.voice.facts import Facts
from cosybuild.runtime.voice.inputs import check_floats
from cosybuild.runtime.voice.random import BLOCK, Generator

TABLE_FRAMES = 15000
"""Number of frames in the solver's table of noise in CosyVoice 2 and 3, fixed by upstream: 300 s at 50 frames per
second.
"""

Draw = int | np.ndarray | None
"""Random numbers, given as a seed or as an array; None takes a new seed from the operating system."""


@dataclass(frozen=True)
class Noise:
    """The random numbers of one utterance.

    Attributes:
        flow: the solver's initial state, (1, mel, T or more), for the prompt's frames and then the target's; or a seed,
            or None for a new seed.
        source: noise of the vocoder's source, (1, N, harmonics), where sample n takes row n modulo N; or a seed, or
            None for a new seed.
        phase: (1, harmonics) in cycles: the phases of the sines before the first sample. If None, they are drawn from
            the seed of `source`, or are 0 if `source` is an array.
    """

    flow: Draw = 0
    source: Draw = 0
    phase: Array | None = None

    @classmethod
    def of(cls, noise: Noise | int | None) -> Noise:
        """Return `noise` itself if it is a `Noise`; else use it as the seed of both draws (None: one new seed).

        Raises:
            ServingError: `noise` is neither a seed nor a `Noise`.
        """
        if isinstance(noise, Noise):
            return noise
        seed = seed_of(noise)
        return cls(seed, seed)


def seed_of(value: object) -> int:
    """Check a seed and return it as an int; for None, return a new seed from the operating system.

    Raises:
        ServingError: `value` is not a whole number of at least 0.
    """
    if value is None:
        return secrets.randbits(32)
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 0:
        raise ServingError(
            f"noise={value!r} is not a seed; a whole number of at least 0 is expected, or a Noise with arrays."
        )
    return int(value)


def flow_noise(draw: Draw, facts: Facts, frames: int) -> Array:
    """Return the solver's initial state, (1, mel, frames).

    Raises:
        ShapeRefused: the array has another shape or too few frames, or the table has too few frames.
        ServingError: the seed is not valid, or the array has values that are not finite or of another type.
    """
    hold_frames(draw, facts, frames)
    if isinstance(draw, np.ndarray):
        return draw[:, :, :frames]
    seed = seed_of(draw)
    if not facts.has_fixed_noise:
        return Generator(seed).normal(facts.mel * frames).reshape(1, facts.mel, frames)
    return noise_table(seed, facts.mel)[:, :, :frames]


def hold_frames(draw: Draw, facts: Facts, frames: int) -> None:
    """Check, before any network runs, that there is noise for this number of frames.

    Raises:
        ShapeRefused: the array has another shape or too few frames, or `frames` exceeds `TABLE_FRAMES`.
        ServingError: the array has values that are not finite or of another type.
    """
    if isinstance(draw, np.ndarray):
        if draw.ndim != 3 or draw.shape[:2] != (1, facts.mel) or draw.shape[2] < frames:
            raise ShapeRefused(
                f"the flow's noise has the shape {draw.shape}; (1, {facts.mel}, {frames}) is expected.",
                hint="Next: divide the tokens into shorter utterances, or pass noise of more frames.",
            )
        check_floats("the flow's noise", draw[:, :, :frames])
    elif frames > TABLE_FRAMES:
        # CosyVoice 1 has no table, but the memory of its attention grows with the square of the number of frames.
        raise ShapeRefused(
            f"prompt and target have {frames} mel frames; "
            f"{'the table of noise has' if facts.has_fixed_noise else 'an utterance has at most'} {TABLE_FRAMES}.",
            hint="Next: divide the tokens into shorter utterances, or pass the noise as an array.",
        )


@lru_cache(maxsize=2)
def noise_table(seed: int, mel: int) -> Array:
    """Return the table from which the solver of CosyVoice 2 and 3 starts, (1, mel, TABLE_FRAMES), read-only."""
    table = Generator(seed).normal(mel * TABLE_FRAMES).reshape(1, mel, TABLE_FRAMES)
    table.flags.writeable = False
    return table


class SourceNoise:
    """The noise of the vocoder's source: an endless sequence of rows, one for each sample, read in ascending ranges.

    Args:
        noise: the random numbers of the utterance.
        facts: the voice's facts.

    Attributes:
        phase: (1, harmonics) in cycles, the phases of the sines before the first sample.

    Raises:
        ShapeRefused: an array has another shape.
        ServingError: an array has values that are not finite or of another type.
    """

    def __init__(self, noise: Noise, facts: Facts) -> None:
        self._facts = facts
        sines = facts.harmonics
        self.phase = np.zeros((1, sines), np.float32)
        self._table = noise.source if isinstance(noise.source, np.ndarray) else None
        self._begin = 0
        self._kept = np.zeros((0, sines), np.float32)
        self._spare = np.zeros(0, np.float32)
        if self._table is None:
            self._generator = Generator(seed_of(noise.source))
            if facts.has_random_phase:
                self.phase[0] = self._generator.uniform(sines) - np.float32(0.5)
                self.phase[0, 0] = 0
        else:
            check_floats("the source's noise", self._table)
            shape = self._table.shape
            if len(shape) != 3 or shape[0] != 1 or not shape[1] or shape[2] != sines:
                raise ShapeRefused(f"the source's noise has the shape {shape}; (1, rows, {sines}) is expected.")
        if noise.phase is not None:
            check_floats("the phases", noise.phase)
            if noise.phase.shape != (1, sines):
                raise ShapeRefused(f"the phases have the shape {noise.phase.shape}; (1, {sines}) is expected.")
            self.phase = noise.phase

    def rows(self, begin: int, end: int) -> Array:
        """Return rows `begin` to `end` - 1 as (1, end - begin, harmonics).

        `begin` must not decrease from call to call.
        """
        if self._table is not None:
            return self._table[:, np.arange(begin, end) % self._table.shape[1]]
        # Rows before `begin` will not be read again, so they are dropped.
        missing = end - self._begin - len(self._kept)
        self._kept = np.concatenate((self._kept[begin - self._begin :], self._drawn(missing)))
        self._begin = begin
        return self._kept[np.newaxis, : end - begin]

    def _drawn(self, rows: int) -> Array:
        """Draw the next rows of noise.

        Whole blocks are drawn, so that the values do not depend on the sizes of the calls.
        """
        sines = self._facts.harmonics
        count = max(0, rows) * sines - len(self._spare)
        if count > 0:
            draw = self._generator.uniform if self._facts.has_uniform_source else self._generator.normal
            self._spare = np.concatenate((self._spare, draw(-(-count // BLOCK) * BLOCK)))
        taken, self._spare = np.split(self._spare, [max(0, rows) * sines])
        return taken.reshape(-1, sines)
