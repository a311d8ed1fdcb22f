"""Find files such as `conf/`, which are at the top of the source tree, or inside the package in a wheel."""

from __future__ import annotations

from pathlib import Path


def shipped(name: str) -> Path:
    """Return the path of a file or directory that is installed with cosybuild.

    Args:
        name: its name at the top of the source tree, listed under `force-include` in pyproject.toml.
    """
    package = Path(__file__).resolve().parent
    installed = package / name
    return installed if installed.exists() else package.parent / name
