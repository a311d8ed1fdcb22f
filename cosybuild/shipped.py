"""Files that lie at the top of the source tree, and inside the package where a wheel was installed."""

from __future__ import annotations

from pathlib import Path


def shipped(name: str) -> Path:
    """The path of a file or directory that the wheel carries (`force-include` in pyproject.toml)."""
    package = Path(__file__).resolve().parent
    installed = package / name
    return installed if installed.exists() else package.parent / name
