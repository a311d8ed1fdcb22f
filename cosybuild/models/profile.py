"""The expansion of a stated profile (in frames or seconds) to a size range for every symbol of a model."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cosybuild.config.groups.profile import ProfileSettings, RangeSettings
from cosybuild.errors import ConfigurationError
from cosybuild.models.spec import Axis, ModelSpec

BATCH = "batch"
FRAMES = "seq_len"
_SECONDS_PER_UNIT = {"ms": 1e-3, "s": 1.0, "sec": 1.0, "min": 60.0}
MOST_FRAMES = 2**31 - 1
"""The largest size of an axis, which TensorRT keeps in 32 bits."""

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*")


@dataclass(frozen=True)
class SizeRange:
    """The sizes of one symbol, in steps of its axis (frames for `seq_len`); min <= opt <= max.

    Attributes:
        min, opt, max: multiples of `multiple_of`.
        multiple_of: the model takes only multiples of it.
    """

    min: int
    opt: int
    max: int
    multiple_of: int = 1

    def holds(self, size: int) -> bool:
        """Return True if the size is one of the range."""
        return self.min <= size <= self.max and size % self.multiple_of == 0

    def holds_all(self, lowest: int, highest: int) -> bool:
        """Return True if every size from `lowest` to `highest`, both included, is one of the range."""
        return self.min <= lowest and highest <= self.max and self.multiple_of == 1

    def nearest(self, size: int) -> int:
        """Round `size` down to a multiple of `multiple_of`, and limit it to the range."""
        return max(self.min, min(size - size % self.multiple_of, self.max))

    def spread(self, size: int) -> int:
        """Return `size` if the range holds it, else another size of the range, distinct for consecutive sizes."""
        count = (self.max - self.min) // self.multiple_of + 1
        return size if self.holds(size) else self.min + self.multiple_of * (size % count)


Profile = dict[str, SizeRange]
"""Symbol -> range, one entry for every symbol of the model."""

NamedSizes = dict[str, dict[str, int]]
"""Symbol -> {min, opt, max, ...}: a profile in keys."""


def named_sizes(profile: Profile) -> NamedSizes:
    """Return symbol -> {min, opt, max}: a profile in the keys of references and verifications.

    `multiple_of` is there if it is not 1, so that keys of earlier releases stay valid.
    """
    found = {symbol: asdict(size) for symbol, size in profile.items()}
    return {s: {n: v for n, v in sizes.items() if (n, v) != ("multiple_of", 1)} for s, sizes in found.items()}


def admits(profiles: Sequence[Profile], sizes: Mapping[str, int]) -> bool:
    """Return True if one profile holds all sizes, or if there is no profile."""
    return not profiles or any(all(one[symbol].holds(size) for symbol, size in sizes.items()) for one in profiles)


def moved_inside(profiles: Sequence[Profile], sizes: Mapping[str, int]) -> dict[str, int]:
    """Return the sizes if one profile holds all of them, else sizes that the first profile holds.

    A batch becomes the nearest size of that profile.
    """
    if admits(profiles, sizes):
        return dict(sizes)
    first = profiles[0]
    return {s: first[s].nearest(size) if s == BATCH else first[s].spread(size) for s, size in sizes.items()}


def listed_sizes(profile: Profile) -> dict[str, list[int]]:
    """Return symbol -> [min, opt, max]: a profile in the keys of engines, in manifests and in reports."""
    return {symbol: [size.min, size.opt, size.max] for symbol, size in profile.items()}


# The range that the runtime of dynamic-batch artifacts needs (FlashCosyVoice's token2wav).
_BATCH_RANGE = SizeRange(2, 4, 32)


def expand_profiles(settings: ProfileSettings, spec: ModelSpec) -> tuple[Profile, ...]:
    """Return every profile with integers for every symbol of `spec`, in the order of the symbols.

    A profile that does not state `batch` gets 2/4/32 where the model's batch varies. An axis that a profile does not
    state gets its own sizes (`Axis.sizes`), or those that follow from the profile's `seq_len` (`Axis.per_frame`), so
    that one profile serves every component. Without any stated profile, a model without dynamic axes (or with a
    dynamic batch only) gets one profile; other models get none.

    Raises:
        ConfigurationError: a symbol has no range, a range is for a symbol that the model does not have, a
            value is neither a positive integer nor a duration, or min <= opt <= max is violated.
    """
    stated = settings.profiles or (({},) if set(spec.symbols) <= {BATCH} else ())
    return tuple(_expand(settings.name, index, ranges, spec) for index, ranges in enumerate(stated))


def for_model(settings: ProfileSettings, spec: ModelSpec) -> ProfileSettings:
    """Return profiles that several models share, limited to the axes and the largest sizes of one of the models.

    Ranges of axes that the model does not have are left out, and a range ends at the model's largest size.
    """
    found: list[dict[str, RangeSettings]] = []
    for index, ranges in enumerate(settings.profiles):
        where = f"trt_profile '{settings.name}', profile {index}"
        own = {
            s: _cut(f"{where}, {s}", r, timed_axis(s, spec)) for s, r in ranges.items() if s in (*spec.symbols, FRAMES)
        }
        found += [own] if own not in found else []
    return replace(settings, profiles=tuple(found))


def _cut(where: str, stated: RangeSettings, axis: Axis) -> RangeSettings:
    sizes = _range(where, stated, replace(axis, most=None))
    if axis.most is None or sizes.max <= axis.most:
        return stated
    most = axis.most - axis.most % sizes.multiple_of
    return RangeSettings(min(sizes.min, most), min(sizes.opt, most), most, sizes.multiple_of)


def _expand(name: str, index: int, ranges: dict[str, RangeSettings], spec: ModelSpec) -> Profile:
    where = f"trt_profile '{name}'" + (f", profile {index}" if index else "")
    follows = FRAMES in ranges and any(axis.per_frame is not None for axis in spec.axes.values())
    for symbol in ranges:
        if symbol not in spec.symbols and not (symbol == FRAMES and follows):
            known = ", ".join(spec.symbols) or "none"
            hint = (
                "Next: add export.dynamic_batch=true, or choose a profile without batch."
                if symbol == BATCH
                else f"Next: name one of the model's dynamic axes: {known}."
            )
            raise ConfigurationError(
                f"{where} gives a range for the axis '{symbol}', which is not dynamic in this model "
                f"(dynamic axes: {known}).",
                hint=hint,
            )
    profile: Profile = {}
    for symbol in spec.symbols:
        if symbol in ranges:
            profile[symbol] = _range(f"{where}, {symbol}", ranges[symbol], timed_axis(symbol, spec))
        elif spec.axis(symbol).sizes:
            profile[symbol] = SizeRange(*spec.axis(symbol).sizes)
        elif follows and spec.axis(symbol).per_frame is not None:
            profile[symbol] = _from_frames(f"{where}, {FRAMES}", ranges[FRAMES], spec, spec.axis(symbol))
        elif symbol == BATCH:
            profile[symbol] = _BATCH_RANGE
        else:
            raise ConfigurationError(
                f"{where} gives no range for the axis '{symbol}', which is dynamic in this model.",
                hint=f"Next: add 'trt_profile.profiles=[{{{symbol}: {{min: 1, opt: 16, max: 64}}}}]' "
                "with the sizes you serve.",
            )
    return profile


def timed_axis(symbol: str, spec: ModelSpec) -> Axis:
    """Return the axis of a symbol with its rate per second; `seq_len` has the specification's frame rate."""
    axis = spec.axis(symbol)
    return axis if axis.per_second is not None else replace(axis, per_second=spec.frames_per_second)


def _from_frames(where: str, stated: RangeSettings, spec: ModelSpec, axis: Axis) -> SizeRange:
    """Return the range of an axis whose sizes follow from the mel frames of a profile, rounded up."""
    assert axis.per_frame is not None
    frames = _range(where, stated, timed_axis(FRAMES, spec))
    opt, largest = (max(axis.least, math.ceil(size * axis.per_frame)) for size in (frames.opt, frames.max))
    return SizeRange(axis.least, opt, largest)


def _range(where: str, stated: RangeSettings, axis: Axis) -> SizeRange:
    # Round outwards, so that the range always covers a stated duration.
    sizes = SizeRange(
        _size(f"{where}.min", stated.min, axis, math.floor),
        _size(f"{where}.opt", stated.opt, axis, round),
        _size(f"{where}.max", stated.max, axis, math.ceil),
    )
    if not sizes.min <= sizes.opt <= sizes.max:
        raise ConfigurationError(
            f"{where}: min {sizes.min}, opt {sizes.opt}, max {sizes.max} are not in order; "
            "min <= opt <= max is expected.",
            hint="Next: put the three sizes in order.",
        )
    if axis.most is not None and sizes.max > axis.most:
        seconds = "" if axis.per_second is None else f" ({axis.most / axis.per_second:g} s)"
        raise ConfigurationError(
            f"{where}: max {sizes.max} is more than {axis.most}{seconds}, the most that this model takes.",
            hint=f"Next: give a max of at most {axis.most}.",
        )
    step = stated.multiple_of
    if step < 1 or any(size % step for size in (sizes.min, sizes.opt, sizes.max)):
        raise ConfigurationError(
            f"{where}: min {sizes.min}, opt {sizes.opt}, max {sizes.max} are not all multiples of {step}.",
            hint="Next: give sizes that the model takes, or another multiple_of of at least 1.",
        )
    return replace(sizes, multiple_of=step)


def frames_from_text(
    where: str, text: str, frames_per_second: float | None, rounding: Callable[[float], int] = math.ceil
) -> int:
    """Convert a number of frames, or a duration with its unit, to frames; the result is at least 1.

    Args:
        where: the name of the place in an error message.
        rounding: rounds a duration that is no whole number of frames.

    Raises:
        ConfigurationError: it is neither, or a duration of a model without a frame rate.
    """
    if re.fullmatch(r"[0-9]{1,40}", text.strip()):
        value = int(text)
        if not 1 <= value <= MOST_FRAMES:
            raise _no_size(where, value)
        return value
    match = _DURATION.fullmatch(text)
    if match is None or match[2] not in _SECONDS_PER_UNIT:
        raise ConfigurationError(
            f"{where} is {text[:40]!r}; a whole number of frames or a duration such as '60 s' is expected.",
            hint=f"Next: use one of the units {', '.join(_SECONDS_PER_UNIT)}.",
        )
    if frames_per_second is None:
        raise ConfigurationError(
            f"{where} is the duration {text!r}, but this model does not define its frames per second.",
            hint="Next: set model.frames_per_second, or give the number of frames.",
        )
    frames = float(match[1]) * _SECONDS_PER_UNIT[match[2]] * frames_per_second
    if frames > MOST_FRAMES:
        raise _no_size(where, text[:40])
    # Products such as 0.1 s * 50 have a rounding error, which floor and ceil must not amplify.
    return max(1, rounding(round(frames, 6)))


def _size(where: str, value: Any, axis: Axis, rounding: Callable[[float], int]) -> int:
    if isinstance(value, str):
        return frames_from_text(where, value, axis.per_second, rounding)
    if isinstance(value, bool) or not isinstance(value, int) or not axis.least <= value <= MOST_FRAMES:
        raise _no_size(where, value, axis.least)
    return value


def _no_size(where: str, value: Any, least: int = 1) -> ConfigurationError:
    return ConfigurationError(
        f"{where} is {value!r}; a whole number of at least {least}, or a duration such as '60 s', is expected, and at "
        f"most {MOST_FRAMES:,} frames.",
        hint="Next: give the number of frames, or text with a unit (ms, s, min).",
    )
