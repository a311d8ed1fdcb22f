"""The loaders with which a serving process loads built artifacts. They import no package of the build system.

`load_estimator` imports PyTorch when it is first used. `load_part` and `load_voice` need numpy and the library that
runs the file: ONNX Runtime for a graph, OpenVINO for an IR.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cosybuild.lazy import require

if TYPE_CHECKING:
    from cosybuild.runtime.estimator import BuiltEstimator
    from cosybuild.runtime.load import load_estimator
    from cosybuild.runtime.part import BuiltPart, load_part
    from cosybuild.runtime.voice.load import load_voice
    from cosybuild.runtime.voice.voice import Voice

__all__ = ["BuiltEstimator", "BuiltPart", "Voice", "load_estimator", "load_part", "load_voice"]

_HOMES = {
    "BuiltEstimator": "estimator",
    "load_estimator": "load",
    "BuiltPart": "part",
    "load_part": "part",
    "Voice": "voice.voice",
    "load_voice": "voice.load",
}
"""Public name -> the module of this package that defines it."""

_WITH_TORCH = ("BuiltEstimator", "load_estimator")


def __getattr__(name: str) -> Any:
    """Import the object `name` of `__all__` when it is first used, so that PyTorch is loaded only if it is needed."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _WITH_TORCH:
        require("torch", f"cosybuild.runtime.{name}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
