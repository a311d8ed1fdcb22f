"""An import path for the processes that tests start."""

from __future__ import annotations

import os
from pathlib import Path


def importing(*directories: Path) -> dict[str, str]:
    """The variable with which a child process imports from `directories` first, and then as this process does."""
    return {"PYTHONPATH": os.pathsep.join([*map(str, directories), *filter(None, [os.environ.get("PYTHONPATH")])])}
