"""`objective`: the figure that a search minimises and that `select` orders by."""

from __future__ import annotations

from enum import Enum


class Objective(str, Enum):
    """A figure of a finished run; smaller is better for each."""

    error = "error"
    memory = "memory"
    size = "size"
    latency = "latency"
    build_time = "build_time"
