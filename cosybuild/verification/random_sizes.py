"""The random sizes of cases, drawn from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cosybuild.models.shape_profile import BATCH, Profile, admits
from cosybuild.models.spec import ModelSpec

# CosyVoice's own export check draws ten lengths from 16 to 512 inclusive.
UPSTREAM_LENGTHS = (16, 512)
UPSTREAM_COUNT = 10

# The smallest length that any check tries, even if the profile admits smaller ones.
LEAST = 4


def upstream_sizes(spec: ModelSpec, seed: int) -> Iterator[dict[str, int]]:
    """Yield ten mappings symbol -> size: 2 for the batch, a random number in 16..512 for every other symbol."""
    rng = np.random.default_rng(seed)
    low, high = UPSTREAM_LENGTHS
    for _ in range(UPSTREAM_COUNT):
        drawn = {s: 2 if s == BATCH else int(rng.integers(low, high + 1)) for s in spec.symbols}
        yield {s: _own_size(spec, s, size) for s, size in drawn.items()}


def octave_sizes(spec: ModelSpec, seed: int) -> Iterator[dict[str, int]]:
    """Yield one mapping symbol -> size for each octave of 16..512, with random sizes inside the octave.

    The cases of these sizes take a third of the time of ten cases with uniform sizes.
    """
    rng = np.random.default_rng(seed)
    low, high = UPSTREAM_LENGTHS
    while low < high:
        drawn = {s: 2 if s == BATCH else int(rng.integers(low, 2 * low)) for s in spec.symbols}
        yield {s: _own_size(spec, s, size) for s, size in drawn.items()}
        low *= 2


def depends_on_profiles(spec: ModelSpec, profiles: Sequence[Profile], seed: int, *, upstream: bool) -> bool:
    """Return True if the random sizes, or in upstream mode any tried size, would be moved to fit the profiles.

    The result is always True for several profiles with several symbols.

    Args:
        spec: the model's interface.
        profiles: the profiles of the build.
        seed: the seed of the sizes.
        upstream: True for the sizes of `upstream_cases`, False for those of `strict_cases`.
    """
    if len(profiles) > 1 and len(spec.symbols) > 1:
        return True
    if any(_holds_all_sizes(profile, spec, LEAST if upstream else UPSTREAM_LENGTHS[0]) for profile in profiles):
        return False  # no size has to be drawn; to load numpy's generator would take longer than the rest of a plan
    drawn = list(upstream_sizes(spec, seed) if upstream else octave_sizes(spec, seed))
    if upstream:
        drawn += [{s: 2 if s == BATCH else size for s in spec.symbols} for size in (LEAST, UPSTREAM_LENGTHS[1])]
    return not all(admits(profiles, sizes) for sizes in drawn)


def _holds_all_sizes(profile: Profile, spec: ModelSpec, least: int) -> bool:
    """Return True if the profile covers every size that could be drawn, from `least` upwards."""
    for symbol in spec.symbols:
        own = spec.axis(symbol).sizes
        lowest, highest = (2, 2) if symbol == BATCH else (least, UPSTREAM_LENGTHS[1])
        if own or not profile[symbol].holds_all(lowest, highest):
            return False
    return True


def _own_size(spec: ModelSpec, symbol: str, size: int) -> int:
    """Return `size`. For an axis that takes listed sizes only (`Axis.sizes`), wrap it into their range instead."""
    own = spec.axis(symbol).sizes
    return own[0] + size % (own[-1] - own[0] + 1) if own else size
