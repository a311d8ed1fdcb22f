"""`--version`: the versions of cosybuild and of the packages that make its artifacts."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import cosybuild
from cosybuild.cli.printed import say

_SHOWN = ("torch", "onnx", "onnxruntime", "onnxruntime-gpu", "onnxsim", "tensorrt", "tensorrt-rtx", "hydra-core")


def print_versions() -> int:
    """Print the version of each installed package without importing the package; return exit code 0."""
    say(f"cosybuild {cosybuild.__version__}")
    say(f"python {platform.python_version()}")
    for name in _SHOWN:
        try:
            say(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return 0
