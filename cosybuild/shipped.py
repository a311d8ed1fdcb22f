"""Files that are at the top of the source tree, and inside the package if it was installed from a wheel."""

from __future__ import annotations

from pathlib import Path


def shipped(name: str) -> Path:
    """Return the path of a file or directory that the wheel contains (`force-include` in pyproject.toml)."""
    package = Path(__file__).resolve().parent
    installed = package / name
    return installed if installed.exists() else package.parent / name
