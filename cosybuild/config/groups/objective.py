"""`objective`: the figure that a searching sweeper minimises and by which `select` orders the cells."""

from __future__ import annotations

from enum import Enum


class Objective(str, Enum):
    """A figure of a finished run. A smaller value is better for each of them."""

    error = "error"
    memory = "memory"
    size = "size"
    latency = "latency"
    build_time = "build_time"
