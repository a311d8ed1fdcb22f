"""Convert the profiles of the settings, in frames or durations, to a range of sizes for every dynamic axis of a model.

A dynamic axis has a name such as `seq_len`, its symbol.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.errors import ConfigurationError
from cosybuild.models.spec import Axis, ModelSpec

BATCH = "batch"
FRAMES = "seq_len"
_SECONDS_PER_UNIT = {"ms": 1e-3, "s": 1.0, "sec": 1.0, "min": 60.0}
MOST_FRAMES = 2**31 - 1
"""The largest size of an axis. TensorRT stores sizes in 32 bits."""

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*")


@dataclass(frozen=True)
class SizeRange:
    """The range of sizes of one dynamic axis.

    Attributes:
        min, opt, max: the smallest size, the size that an engine is tuned for, and the largest size; all are multiples
            of `multiple_of`, and min <= opt <= max. The unit is one position of the axis (a frame for `seq_len`).
        multiple_of: the model accepts only sizes that are multiples of this number.
    """

    min: int
    opt: int
    max: int
    multiple_of: int = 1

    def holds(self, size: int) -> bool:
        """Return True if `size` is in the range and a multiple of `multiple_of`."""
        return self.min <= size <= self.max and size % self.multiple_of == 0

    def holds_all(self, lowest: int, highest: int) -> bool:
        """Return True if the range contains every size from `lowest` to `highest`, both included."""
        return self.min <= lowest and highest <= self.max and self.multiple_of == 1

    def nearest(self, size: int) -> int:
        """Return `size`, rounded down to a multiple of `multiple_of` and limited to the range."""
        return max(self.min, min(size - size % self.multiple_of, self.max))

    def spread(self, size: int) -> int:
        """Return `size` if the range contains it, else another size in it; consecutive sizes give different ones."""
        count = (self.max - self.min) // self.multiple_of + 1
        return size if self.holds(size) else self.min + self.multiple_of * (size % count)


Profile = dict[str, SizeRange]
"""The range of every dynamic axis of a model, by the symbol of the axis."""

NamedSizes = dict[str, dict[str, int]]
"""A profile as it is written in the keys of steps: symbol -> {min, opt, max, ...}."""


def named_sizes(profile: Profile) -> NamedSizes:
    """Return the profile as symbol -> {min, opt, max}, for the keys of the steps `reference` and `verify`.

    `multiple_of` is included only if it is not 1, so that keys of earlier releases stay valid.
    """
    found = {symbol: asdict(size) for symbol, size in profile.items()}
    return {s: {n: v for n, v in sizes.items() if (n, v) != ("multiple_of", 1)} for s, sizes in found.items()}


def admits(profiles: Sequence[Profile], sizes: Mapping[str, int]) -> bool:
    """Return True if there is a profile whose ranges contain all sizes, or if there are no profiles.

    Args:
        profiles: the profiles of the model.
        sizes: symbol of an axis -> size.
    """
    return not profiles or any(all(one[symbol].holds(size) for symbol, size in sizes.items()) for one in profiles)


def moved_inside(profiles: Sequence[Profile], sizes: Mapping[str, int]) -> dict[str, int]:
    """Return `sizes` if a profile contains all of them, else sizes that the first profile contains.

    In the second case, the batch becomes the nearest batch of that profile (`SizeRange.nearest`), and other sizes are
    replaced by `SizeRange.spread`.
    """
    if admits(profiles, sizes):
        return dict(sizes)
    first = profiles[0]
    return {s: first[s].nearest(size) if s == BATCH else first[s].spread(size) for s, size in sizes.items()}


def listed_sizes(profile: Profile) -> dict[str, list[int]]:
    """Return the profile as symbol -> [min, opt, max], for the keys of engine steps, manifests and reports."""
    return {symbol: [size.min, size.opt, size.max] for symbol, size in profile.items()}


# The range of the batch that the runtime of dynamic-batch artifacts (FlashCosyVoice's token2wav) needs.
_BATCH_RANGE = SizeRange(2, 4, 32)


def expand_profiles(settings: ProfileSettings, spec: ModelSpec) -> tuple[Profile, ...]:
    """Return the profiles of the settings with a range of integers for every dynamic axis of the model.

    A profile need not state every axis, so that one profile fits all components. An axis that it does not state gets
    the sizes in `Axis.sizes`, or sizes computed from the profile's `seq_len` with `Axis.per_frame`. A dynamic batch
    that it does not state gets 2/4/32. If the settings have no profile, a model whose only dynamic axis is `batch`, or
    which has none, gets one profile; other models get none.

    Args:
        settings: the group `trt_profile`.
        spec: the inputs of the model, whose symbols give the order of the axes.

    Raises:
        ConfigurationError: an axis has no range, a range is for an axis that the model does not have, a value is
            neither a positive integer nor a duration, or min <= opt <= max is violated.
    """
    stated = settings.profiles or (({},) if set(spec.symbols) <= {BATCH} else ())
    return tuple(_expand(settings.name, index, ranges, spec) for index, ranges in enumerate(stated))


def for_model(settings: ProfileSettings, spec: ModelSpec) -> ProfileSettings:
    """Adapt profiles that several models share to one of the models.

    Ranges of axes that the model does not have are left out, except `seq_len`. A range is cut at the largest size that
    the model accepts. Profiles that become equal are merged.
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
    """Return the facts of an axis with `per_second` set; the default is the frame rate of `spec`, which can be None."""
    axis = spec.axis(symbol)
    return axis if axis.per_second is not None else replace(axis, per_second=spec.frames_per_second)


def _from_frames(where: str, stated: RangeSettings, spec: ModelSpec, axis: Axis) -> SizeRange:
    """Return the range of an axis that a profile does not state, computed from its range of mel frames, rounded up."""
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
    """Convert a text with a number of frames, or with a duration such as `60 s`, to a number of frames, at least 1.

    Args:
        where: the name of the setting, for error messages.
        text: the number or the duration.
        frames_per_second: the frame rate of the model; None if the model has none.
        rounding: rounds the frames of a duration to an integer.

    Raises:
        ConfigurationError: the text is neither of the two, or it is a duration and the model has no frame rate.
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
