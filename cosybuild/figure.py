"""Figures in JSON. A figure is a number, the text of a number that JSON lacks, or null where nothing was measured.

JSON has no infinity, and an error of exactly zero has an infinite signal-to-noise ratio. Such figures are written as
`"Infinity"`, `"-Infinity"` and `"NaN"`, as Protocol Buffers do; Python's `float` and JavaScript's `Number` read them.
Code tests for a missing figure with `is None`, not by its truth value, because zero is a figure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Return JSON data with every float that JSON cannot hold replaced by its text; other values stay as they are."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


def dumps(value: Any, **options: Any) -> str:
    """Return JSON text that every reader can parse; `options` are those of `json.dumps`."""
    return json.dumps(plain(value), allow_nan=False, **options)


def number(value: Any) -> float | None:
    """Return a figure that `plain` wrote as a float, and None for None.

    Raises:
        ValueError: the value is no figure.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a figure; a number, its text or null is expected")
    return float(value)


def measured(figures: Mapping[str, Any], name: str) -> float | None:
    """Read the figure of one metric; return None if the metric is missing, and infinity for null.

    Earlier versions wrote null for infinite figures.
    """
    if name not in figures:
        return None
    value = number(figures[name])
    return math.inf if value is None else value
