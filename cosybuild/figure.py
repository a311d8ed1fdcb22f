"""Figures, i.e. measured values, in JSON: a number, a text such as "Infinity", or null if nothing was measured.

JSON has no infinity, but an error of exactly zero has an infinite signal-to-noise ratio. Such figures are written as
the texts `"Infinity"`, `"-Infinity"` and `"NaN"`, as in Protocol Buffers. Python's `float` and JavaScript's `Number`
convert these texts. Code must test for a missing figure with `is None`, because zero is a figure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Return a copy of JSON data in which a text replaces every float that is infinite or NaN. Tuples become lists."""
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
    """Return valid JSON text, with figures written as the module explains.

    Args:
        value: the data.
        **options: keyword arguments of `json.dumps`.
    """
    return json.dumps(plain(value), allow_nan=False, **options)


def number(value: Any) -> float | None:
    """Convert a figure that was read from JSON to a float; None stays None.

    Raises:
        ValueError: the value is not a figure.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a figure; a number, its text or null is expected")
    return float(value)


def measured(figures: Mapping[str, Any], name: str) -> float | None:
    """Return the figure of one metric as a float; None if the metric is missing.

    null is read as infinity, because earlier versions wrote null for infinite figures.

    Args:
        figures: name of a metric -> figure.
        name: the metric.

    Raises:
        ValueError: the value is not a figure.
    """
    if name not in figures:
        return None
    value = number(figures[name])
    return math.inf if value is None else value
