"""The types of arrays and parts that the modules of this package share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Part(Protocol):
    """One network: arrays by the names of its inputs -> arrays by the names of its outputs."""

    def __call__(self, **inputs: Array) -> Mapping[str, Array]: ...
