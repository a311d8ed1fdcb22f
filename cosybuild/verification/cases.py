"""The cases (sets of inputs) on which an artifact is compared with the reference, ordered from few to many elements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

import numpy as np

from cosybuild.models.real_inputs import GivenBatch
from cosybuild.models.shape_profile import BATCH, Profile, SizeRange, admits, moved_inside
from cosybuild.models.spec import ModelSpec
from cosybuild.numerics.inputs import Array, Draw, Time, draw_inputs
from cosybuild.numerics.real_inputs import read_batch
from cosybuild.system.typed_json import from_json, to_json
from cosybuild.verification.random_sizes import octave_sizes, upstream_sizes

MOVED = "random size of the profile"
"""The reason (`Case.why`) of a random size that no profile covers and that was therefore moved inside one. Of two equal
cases, the one with another reason is kept.
"""

# Above this number of frames, one case takes longer than all shorter ones together. There, only the sizes of the
# profiles are compared; the sizes next to them are added only if `exhaustive` is set.
CHEAP_SIZE = 1024


_GIVEN = "given by "
_FEWEST = 3
"""Number of cases of a lowered graph if the sizes of all cases are above `longest` (see `lowered_cases`)."""


class _Kind(TypedDict, total=False):
    padded: bool
    guidance: bool
    alike: bool
    time: Time


# The kinds of inputs. Case after case takes the next kind, so that each kind and each length occurs, without all
# combinations of kind and length.
_KINDS: tuple[_Kind, ...] = (
    {},
    {"padded": True},
    {"guidance": True},
    {"time": Time.start},
    {"time": Time.end, "padded": True},
    {"guidance": True, "padded": True},
)


@dataclass(frozen=True)
class Case:
    """One set of inputs on which an artifact is compared with the reference.

    Attributes:
        why: the reason for the sizes, e.g. `profile max`.
        draw: sizes, seed and kind, from which the inputs are drawn.
        batch: the real inputs, if `draw.given` names some; None for drawn inputs.
    """

    why: str
    draw: Draw
    batch: GivenBatch | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The name of the case in messages and reports, e.g. `seq_len=500 padded t=end (profile opt)`."""
        words = [f"{symbol}={size}" for symbol, size in self.draw.sizes.items()]
        words += ["padded"] if self.draw.padded else []
        words += ["guidance"] if self.draw.guidance else []
        words += ["quiet"] if self.draw.quiet else []
        words += [f"t={self.draw.time.value}"] if self.draw.time is not Time.any else []
        return f"{' '.join(words) or 'fixed sizes'} ({self.why})"

    def inputs(self, spec: ModelSpec) -> dict[str, Array]:
        """Return the inputs by name, for a model with the inputs of `spec`.

        Raises:
            ConfigurationError: the file of real inputs changed since planning.
        """
        return draw_inputs(spec, self.draw) if self.batch is None else read_batch(self.batch, spec)

    def facts(self) -> dict[str, Any]:
        """Return the case as JSON data, for the keys of steps and for records. `case_from_facts` reads it."""
        draw = to_json(self.draw)
        # Without real inputs the field `given` is left out, so that keys of earlier releases stay valid.
        return {"why": self.why, **{name: value for name, value in draw.items() if (name, value) != ("given", "")}}


def case_from_facts(facts: Mapping[str, Any]) -> Case:
    """Return the case that `Case.facts` wrote, without its real inputs; `with_batch` adds them."""
    return Case(str(facts["why"]), from_json(facts, Draw, "the case"))


def given_cases(batches: Sequence[GivenBatch]) -> tuple[Case, ...]:
    """Return one case for each batch of real inputs."""
    return tuple(Case(f"{_GIVEN}{one.name}", Draw(one.sizes, given=one.digest), one) for one in batches)


def batch_name(facts: Mapping[str, Any]) -> str:
    """Return the name of the batch in a case that `Case.facts` described."""
    return str(facts["why"]).removeprefix(_GIVEN)


def with_batch(case: Case, batches: Sequence[GivenBatch]) -> Case:
    """Add the real inputs to a case that was read from a record. A case with drawn inputs stays as it is.

    Args:
        case: the case.
        batches: all batches of real inputs of the build.
    """
    return replace(case, batch=next((one for one in batches if one.digest == case.draw.given), None))


def upstream_cases(spec: ModelSpec, profiles: Sequence[Profile], seed: int) -> tuple[Case, ...]:
    """Return ten cases like those of upstream's export check.

    The batch is 2; every other symbol has a random size in 16..512. Sizes that no profile covers are moved inside one.
    """
    drawn = enumerate(upstream_sizes(spec, seed))
    return _ordered([_random_case(profiles, Draw(sizes, seed + index)) for index, sizes in drawn], spec)


def strict_cases(
    spec: ModelSpec,
    profiles: Sequence[Profile],
    seed: int,
    boundaries: Mapping[str, Sequence[int]] | None = None,
    served: Mapping[str, Sequence[int]] | None = None,
    *,
    quiet: Sequence[int] = (),
    exhaustive: bool = False,
) -> tuple[Case, ...]:
    """Return the cases of `verify=strict`: one of random size for each octave of 16..512 frames, and all corner cases.

    docs/verification.md describes them. All inputs are numbers that float16 and bfloat16 represent exactly. So lowered
    graphs and engines, too, can be compared with the same reference.

    Args:
        spec: the model's interface.
        profiles: each profile adds its min, opt and max, and the sizes one step below and above its min and max if any
            profile covers them.
        seed: seed of the first case; each further case adds 1.
        boundaries: symbol -> further sizes at which the computation changes, e.g. the ends of chunks.
        served: symbol -> further sizes, which were recorded in production.
        quiet: lengths of additional cases whose inputs have a small variance.
        exhaustive: True to add the sizes next to profile edges above 1024 frames, too.
    """
    if not spec.symbols:  # all sizes are fixed, so cases differ in their values only
        cases = [Case("fixed sizes", Draw({}, seed + index, **_kind(spec, index))) for index in range(len(_KINDS))]
        return tuple(_coarse(case) for case in cases)
    random = [_random_case(profiles, Draw(sizes)) for sizes in octave_sizes(spec, seed)]
    cases = [*random, *_corner_cases(spec, profiles, boundaries or {}, exhaustive)]
    seen = (_least_with(spec, profiles, {symbol: size}) for symbol, size in _pairs(served or {}))
    cases += [Case("seen in service", Draw(sizes)) for sizes in seen if sizes is not None]
    cases += _quiet_cases(spec, profiles, quiet)
    turned = []
    for index, case in enumerate(cases):
        if case.draw.quiet:
            turned.append(_coarse(replace(case, draw=replace(case.draw, seed=seed + index))))
            continue
        long = not exhaustive and case.why == "profile max" and max(case.draw.sizes.values()) > CHEAP_SIZE
        # In service, every frame is valid at the largest size. With equal rows, one computed row of the reference
        # serves for both.
        kind = {"alike": spec.guidance} if long else _kind(spec, index)
        turned.append(_coarse(replace(case, draw=replace(case.draw, seed=seed + index, **kind))))
    return _ordered(turned, spec)


def lowered_cases(
    cases: Sequence[Case], longest: int = CHEAP_SIZE, per_frame: Mapping[str, float] | None = None
) -> tuple[Case, ...]:
    """Select the cases on which a lowered graph is verified: one for each size of the profiles and each kind of input.

    Cases with more than `longest` frames are left out. An emulated run keeps every tensor, which takes minutes and
    gigabytes at such sizes. If that leaves out the profiles' opt, the largest remaining case is added. If it leaves out
    everything, the first few cases are taken.

    Args:
        cases: the cases of the reference, in ascending number of elements.
        longest: largest number of frames.
        per_frame: symbol -> positions per frame, for axes that are finer than frames.
    """
    steps = per_frame or {}
    chosen: dict[Any, Case] = {}
    fitting: Case | None = None
    for case in cases:
        sizes = [size / steps.get(symbol, 1) for symbol, size in case.draw.sizes.items() if symbol != BATCH]
        draw = case.draw
        # Quiet inputs are the worst case of a lowered graph: 16 bits represent a small variance less accurately.
        if max(sizes, default=0) > longest or draw.quiet:
            continue
        chosen.setdefault(("kind", draw.padded, draw.guidance, draw.time), case)
        if case.why.startswith("profile "):
            chosen.setdefault(("sizes", *draw.sizes.items()), case)
        fitting = case
    if fitting is not None and not any(case.why == "profile opt" for case in chosen.values()):
        chosen["longest"] = fitting
    if not chosen:  # all sizes are above `longest`, as for waveforms; the smallest cases are run all the same
        return tuple(case for case in cases if not case.draw.quiet)[:_FEWEST]
    return tuple(case for case in cases if case in chosen.values())


def sizes_left_out(cases: Sequence[Case], planned: Sequence[Case]) -> tuple[Case, ...]:
    """Return one case for each size of the profiles that no planned case has.

    Args:
        cases: all cases of the reference.
        planned: those on which the artifact is verified.
    """
    run = [case.draw.sizes for case in planned]
    first = {tuple(case.draw.sizes.items()): case for case in reversed(cases) if case.why.startswith("profile ")}
    return tuple(case for case in cases if case in first.values() and case.draw.sizes not in run)


def _random_case(profiles: Sequence[Profile], draw: Draw) -> Case:
    """Return the case of a random draw. If no profile covers its sizes, they are moved inside one."""
    sizes = moved_inside(profiles, draw.sizes)
    return Case("random length", draw) if sizes == draw.sizes else Case(MOVED, replace(draw, sizes=sizes))


def _quiet_cases(spec: ModelSpec, profiles: Sequence[Profile], lengths: Sequence[int]) -> Iterator[Case]:
    for length in lengths:
        sizes = _least_with(spec, profiles, dict.fromkeys((s for s in spec.symbols if s != BATCH), length))
        if sizes is not None:
            yield Case("small variances", Draw(sizes, quiet=True))


def _coarse(case: Case) -> Case:
    return replace(case, draw=replace(case.draw, coarse=True))


def _kind(spec: ModelSpec, index: int) -> _Kind:
    kind = _KINDS[index % len(_KINDS)].copy()
    if not spec.guidance:
        kind.pop("guidance", None)
    generators = {tensor.generator for tensor in spec.inputs}
    if "mask" not in generators:
        kind.pop("padded", None)
    if "time" not in generators:
        kind.pop("time", None)
    return kind


def _corner_cases(
    spec: ModelSpec, profiles: Sequence[Profile], boundaries: Mapping[str, Sequence[int]], exhaustive: bool
) -> Iterator[Case]:
    for profile in profiles:
        smallest = {symbol: profile[symbol].min for symbol in spec.symbols}
        lengths = [symbol for symbol in spec.symbols if symbol != BATCH]
        for point in ("min", "opt", "max"):
            # The largest batch at the largest length is left to the engine's verification, because it needs tens of GiB
            # in PyTorch.
            sizes = {s: getattr(profile[s], "min" if s == BATCH else point) for s in spec.symbols}
            yield Case(f"profile {point}", Draw(sizes))
            for symbol in lengths if point != "opt" else ():
                for step, word in ((-1, "below"), (1, "above")):
                    beside = {**sizes, symbol: sizes[symbol] + step * profile[symbol].multiple_of}
                    if admits(profiles, beside) and (exhaustive or beside[symbol] <= CHEAP_SIZE):
                        yield Case(f"{word} profile {point}", Draw(beside))
        for symbol, size in _pairs(boundaries):
            if profile[symbol].holds(size) and size <= CHEAP_SIZE:
                yield Case("chunk boundary", Draw({**smallest, symbol: size}))
        if BATCH in profile:
            short = {s: profile[s].nearest(min(profile[s].opt, 16)) for s in lengths}
            for size in _batches(profile[BATCH]):
                yield Case("batch size", Draw({s: size if s == BATCH else short[s] for s in spec.symbols}))


def _least_with(spec: ModelSpec, profiles: Sequence[Profile], given: Mapping[str, int]) -> dict[str, int] | None:
    """Complete the sizes `given` with the smallest sizes of the first profile that allows them; None without one."""
    if not profiles:
        return {**dict.fromkeys(spec.symbols, 2), **given}
    for profile in profiles:
        if admits([profile], given):
            return {**{symbol: profile[symbol].min for symbol in spec.symbols}, **given}
    return None


def _batches(batch: SizeRange) -> list[int]:
    several = (batch.min, batch.min + batch.multiple_of, batch.opt, batch.max)
    return sorted({size for size in several if batch.holds(size)})


def _pairs(sizes: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, int]]:
    for symbol, several in sizes.items():
        for size in several:
            yield symbol, size


def _ordered(cases: Sequence[Case], spec: ModelSpec) -> tuple[Case, ...]:
    """Remove duplicate cases and sort the others by the number of input elements."""
    seen: dict[tuple[Any, ...], Case] = {}
    for case in sorted(cases, key=lambda case: case.why == MOVED):
        draw = case.draw
        seen.setdefault((*draw.sizes.items(), draw.padded, draw.guidance, draw.quiet, draw.time), case)
    return tuple(sorted(seen.values(), key=lambda case: _elements(case, spec)))


def _elements(case: Case, spec: ModelSpec) -> int:
    return sum(int(np.prod(tensor.resolve(case.draw.sizes))) for tensor in spec.inputs)
