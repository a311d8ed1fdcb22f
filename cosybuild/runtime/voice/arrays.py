"""The types `Array` and `Part`, which the modules of this package share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Part(Protocol):
    """One network as a callable. It takes and returns arrays by the names of its inputs and outputs."""

    def __call__(self, **inputs: Array) -> Mapping[str, Array]: ...
