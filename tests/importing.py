"""The import path of processes that tests start."""

from __future__ import annotations

import os
from pathlib import Path


def importing(*directories: Path) -> dict[str, str]:
    """Return the environment variable with which a child process imports from `directories` first."""
    return {"PYTHONPATH": os.pathsep.join([*map(str, directories), *filter(None, [os.environ.get("PYTHONPATH")])])}
