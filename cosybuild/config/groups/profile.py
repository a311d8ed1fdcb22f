"""`trt_profile`: the sizes that an engine serves; verification covers the same range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cosybuild.config.groups.field import setting


@dataclass(frozen=True)
class RangeSettings:
    """The sizes of one symbolic dimension."""

    min: Any = setting("???", "Smallest size: a whole number of frames, or text with a unit of time such as '60 s'.")
    opt: Any = setting("???", "The size it is tuned for.")
    max: Any = setting("???", "Largest size.")


@dataclass(frozen=True)
class ProfileSettings:
    """One or several optimisation profiles. Each maps symbols to ranges, stated once for all inputs."""

    name: str = setting("default", "What reports call it.")
    profiles: tuple[dict[str, RangeSettings], ...] = setting(tuple, "One entry a profile; several in one engine.")
