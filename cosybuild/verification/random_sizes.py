"""The random sizes of cases, drawn from a seed and the interface, and a check if profiles change the drawn sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cosybuild.models.profile import BATCH, Profile, admits
from cosybuild.models.spec import ModelSpec

# Lengths of CosyVoice's own export check: ten, from 16 to 512 inclusive.
UPSTREAM_LENGTHS = (16, 512)
UPSTREAM_COUNT = 10

# The smallest length that any check tries, even if the profile admits smaller ones.
LEAST = 4


def upstream_sizes(spec: ModelSpec, seed: int) -> Iterator[dict[str, int]]:
    """Yield ten mappings symbol -> size: 2 for the batch, a random number in 16..512 for any other symbol."""
    rng = np.random.default_rng(seed)
    low, high = UPSTREAM_LENGTHS
    for _ in range(UPSTREAM_COUNT):
        drawn = {s: 2 if s == BATCH else int(rng.integers(low, high + 1)) for s in spec.symbols}
        yield {s: _own_size(spec, s, size) for s, size in drawn.items()}


def octave_sizes(spec: ModelSpec, seed: int) -> Iterator[dict[str, int]]:
    """Yield random sizes of each octave of 16..512; together they take a third of the time of ten uniform sizes."""
    rng = np.random.default_rng(seed)
    low, high = UPSTREAM_LENGTHS
    while low < high:
        drawn = {s: 2 if s == BATCH else int(rng.integers(low, 2 * low)) for s in spec.symbols}
        yield {s: _own_size(spec, s, size) for s, size in drawn.items()}
        low *= 2


def depends_on_profiles(spec: ModelSpec, profiles: Sequence[Profile], seed: int, *, upstream: bool) -> bool:
    """Return True if profiles change the random sizes or, in upstream mode, any size that is tried.

    With several profiles of several axes it is always True.
    """
    if len(profiles) > 1 and len(spec.symbols) > 1:
        return True
    if any(_holds_all_sizes(profile, spec, LEAST if upstream else UPSTREAM_LENGTHS[0]) for profile in profiles):
        return False  # found without drawing, because loading numpy's generator takes longer than the rest of a plan
    drawn = list(upstream_sizes(spec, seed) if upstream else octave_sizes(spec, seed))
    if upstream:
        drawn += [{s: 2 if s == BATCH else size for s in spec.symbols} for size in (LEAST, UPSTREAM_LENGTHS[1])]
    return not all(admits(profiles, sizes) for sizes in drawn)


def _holds_all_sizes(profile: Profile, spec: ModelSpec, least: int) -> bool:
    """Return True if the profile includes every size that could be drawn, from `least` upwards."""
    for symbol in spec.symbols:
        own = spec.axis(symbol).sizes
        lowest, highest = (2, 2) if symbol == BATCH else (least, UPSTREAM_LENGTHS[1])
        if own or not profile[symbol].holds_all(lowest, highest):
            return False
    return True


def _own_size(spec: ModelSpec, symbol: str, size: int) -> int:
    """Return `size`; for an axis with `Axis.sizes`, wrap it (modulo) into the range from their smallest to largest."""
    own = spec.axis(symbol).sizes
    return own[0] + size % (own[-1] - own[0] + 1) if own else size
