"""Which inputs an artifact is compared on, cheap ones first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cosybuild.models.profile import BATCH, Profile
from cosybuild.models.spec import ModelSpec
from cosybuild.numerics.inputs import Array, Draw, Time, draw_inputs

# Upstream's own check: ten lengths, 16 to 512 inclusive.
UPSTREAM_LENGTHS = (16, 512)
UPSTREAM_COUNT = 10

# Neighbours of a size are compared only up to this much work (elements of the largest input times
# size): at 3000 frames one comparison takes longer than all the others together.
_CHEAP_SIZE = 1024

# The kinds of inputs that share the work: a length decides no less than what lies on it.
_KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"padded": True},
    {"guidance": True},
    {"time": Time.start},
    {"time": Time.end, "padded": True},
    {"guidance": True, "padded": True},
)


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        why: what the sizes stand for, e.g. `profile max`.
        draw: what the inputs are made of.
    """

    why: str
    draw: Draw

    @property
    def name(self) -> str:
        """For people, e.g. `seq_len=500 padded t=end (profile opt)`."""
        words = [f"{symbol}={size}" for symbol, size in self.draw.sizes.items()]
        words += ["padded"] if self.draw.padded else []
        words += ["guidance"] if self.draw.guidance else []
        words += [f"t={self.draw.time.value}"] if self.draw.time is not Time.any else []
        return f"{' '.join(words) or 'fixed sizes'} ({self.why})"

    def inputs(self, spec: ModelSpec) -> dict[str, Array]:
        return draw_inputs(spec, self.draw)


def upstream_cases(spec: ModelSpec, seed: int) -> tuple[Case, ...]:
    """Ten random sizes in 16..512 for every symbol but the batch, which stays at 2."""
    rng = np.random.default_rng(seed)
    low, high = UPSTREAM_LENGTHS
    cases = []
    for index in range(UPSTREAM_COUNT if spec.symbols else 1):
        sizes = {s: 2 if s == BATCH else int(rng.integers(low, high + 1)) for s in spec.symbols}
        cases.append(Case("random length", Draw(sizes, seed + index)))
    return _ordered(cases, spec)


def strict_cases(
    spec: ModelSpec, profiles: Sequence[Profile], seed: int, boundaries: Mapping[str, Sequence[int]] | None = None
) -> tuple[Case, ...]:
    """Upstream's lengths, and every corner: see `VerifySettings`.

    Args:
        profiles: min, opt and max of each are compared, and the sizes next to them.
        boundaries: further sizes where the computation changes its course, e.g. the ends of chunks.
    """
    if not spec.symbols:  # nothing but the values can differ
        return tuple(Case("fixed sizes", Draw({}, seed + index, **_kind(spec, index))) for index in range(len(_KINDS)))
    cases = [
        replace(case, draw=replace(case.draw, **_kind(spec, index)))
        for index, case in enumerate(upstream_cases(spec, seed))
    ]
    for case in _corner_cases(spec, profiles, boundaries or {}):
        index = len(cases)
        cases.append(replace(case, draw=replace(case.draw, seed=seed + index, **_kind(spec, index))))
    return _ordered(cases, spec)


def _kind(spec: ModelSpec, index: int) -> dict[str, Any]:
    kind = dict(_KINDS[index % len(_KINDS)])
    if not spec.guidance:
        kind.pop("guidance", None)
    generators = {tensor.generator for tensor in spec.inputs}
    if "mask" not in generators:
        kind.pop("padded", None)
    if "time" not in generators:
        kind.pop("time", None)
    return kind


def _corner_cases(
    spec: ModelSpec, profiles: Sequence[Profile], boundaries: Mapping[str, Sequence[int]]
) -> Iterator[Case]:
    for profile in profiles:
        smallest = {symbol: profile[symbol].min for symbol in spec.symbols}
        lengths = [symbol for symbol in spec.symbols if symbol != BATCH]
        for point in ("min", "opt", "max"):
            # The largest batch at the largest length is an engine's business: it needs tens of GiB here.
            sizes = {s: getattr(profile[s], "min" if s == BATCH else point) for s in spec.symbols}
            yield Case(f"profile {point}", Draw(sizes))
            for symbol in lengths:
                for step, word in ((-1, "below"), (1, "above")):
                    size = sizes[symbol] + step
                    if profile[symbol].min <= size <= profile[symbol].max and size <= _CHEAP_SIZE:
                        yield Case(f"{word} profile {point}", Draw({**sizes, symbol: size}))
        for symbol in lengths:
            for size in boundaries.get(symbol, ()):
                if profile[symbol].min <= size <= min(profile[symbol].max, _CHEAP_SIZE):
                    yield Case("chunk boundary", Draw({**smallest, symbol: size}))
        if BATCH in profile:
            short = {s: max(profile[s].min, min(profile[s].opt, 16)) for s in lengths}
            batch = profile[BATCH]
            for size in sorted({batch.min, batch.min + 1, batch.opt, batch.max}):
                if batch.min <= size <= batch.max:
                    yield Case("batch size", Draw({s: size if s == BATCH else short[s] for s in spec.symbols}))


def _ordered(cases: Sequence[Case], spec: ModelSpec) -> tuple[Case, ...]:
    """Without repetitions, by the amount of work."""
    seen: dict[tuple[Any, ...], Case] = {}
    for case in cases:
        draw = case.draw
        seen.setdefault((*draw.sizes.items(), draw.padded, draw.guidance, draw.time), case)
    return tuple(sorted(seen.values(), key=lambda case: _elements(case, spec)))


def _elements(case: Case, spec: ModelSpec) -> int:
    return sum(int(np.prod(tensor.resolve(case.draw.sizes))) for tensor in spec.inputs)
