"""`trt_profile`: the ranges of sizes that an engine serves. Verification covers the same ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cosybuild.config.groups.field import setting


@dataclass(frozen=True)
class RangeSettings:
    """The sizes that one dynamic axis can have."""

    min: Any = setting(
        "???", "The smallest size: a whole number of frames, or a text with a unit of time such as '60 s'."
    )
    opt: Any = setting("???", "The size for which the engine is tuned.")
    max: Any = setting("???", "The largest size.")
    multiple_of: int = setting(
        1, "The model accepts only multiples of this number; min, opt and max must be multiples too."
    )


@dataclass(frozen=True)
class ProfileSettings:
    """One or several optimisation profiles. Each maps names of dynamic axes to ranges, for all inputs together."""

    name: str = setting("default", "The name of the profiles in reports.")
    profiles: tuple[dict[str, RangeSettings], ...] = setting(
        tuple, "One entry for each profile; one engine holds all of them."
    )
