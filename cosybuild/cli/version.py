"""`--version`: the versions of cosybuild and of the packages that make its artifacts."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import cosybuild

_SHOWN = ("torch", "onnx", "onnxruntime", "onnxruntime-gpu", "onnxsim", "tensorrt", "tensorrt-rtx", "hydra-core")


def print_versions() -> int:
    """Print one line for each installed package; none is imported."""
    print(f"cosybuild {cosybuild.__version__}")
    print(f"python {platform.python_version()}")
    for name in _SHOWN:
        try:
            print(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return 0
