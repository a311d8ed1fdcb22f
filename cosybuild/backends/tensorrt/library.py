"""The two libraries that build engines, TensorRT and TensorRT-RTX, behind one class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cosybuild.lazy import require

TENSORRT = "tensorrt"
RTX = "tensorrt_rtx"

_TITLES = {TENSORRT: "TensorRT", RTX: "TensorRT-RTX"}
# The distribution with the plain name requires a distribution for one CUDA release, which has the release in its name.
_DISTRIBUTIONS = {
    TENSORRT: ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    RTX: ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
}

RTX_SMS = (75, 80, 86, 89, 120, 121)
"""Compute capabilities (times ten) for which TensorRT-RTX 1.7 can build ahead of time. A test compares them with the
module's.
"""


class Device(Protocol):
    """A GPU, with the property that decides which engines it can load."""

    @property
    def sm(self) -> int:
        """The compute capability of the GPU times ten, e.g. 89."""


class Machine(Protocol):
    """The facts of a machine that a check needs: a `system.environment.Environment`, or those of a serving process."""

    def version(self, distribution: str) -> str | None:
        """Return the installed version of a Python distribution; None if it is not installed."""

    @property
    def gpus(self) -> Sequence[Device]:
        """The GPUs on which an engine may be loaded."""


@dataclass(frozen=True)
class TensorRtLibrary:
    """An imported library, TensorRT or TensorRT-RTX.

    Attributes:
        name: `tensorrt` or `tensorrt_rtx`.
        module: the imported Python module.
        version: the library's version, e.g. `1.7.1.116`.
    """

    name: str
    module: Any
    version: str

    @property
    def title(self) -> str:
        """The name and version for messages, e.g. `TensorRT-RTX 1.7.1.116`."""
        return library_title(self.name, self.version)

    @property
    def ahead_of_time(self) -> bool:
        """True if the library can build for any given compute capability; False if only for the GPU of this machine."""
        return hasattr(self.module, "ComputeCapability")

    @property
    def sms(self) -> tuple[int, ...]:
        """The compute capabilities (times ten) for which the library can build ahead of time; empty if it cannot."""
        if not self.ahead_of_time:
            return ()
        names = self.module.ComputeCapability.__members__
        return tuple(sorted(int(name[2:]) for name in names if name.startswith("SM")))

    def member(self, enumeration: str, name: str) -> Any | None:
        """Return an enumeration's member, e.g. `member("BuilderFlag", "FP16")`; None if this version lacks it."""
        return getattr(getattr(self.module, enumeration, None), name, None)

    def members(self, enumeration: str) -> tuple[str, ...]:
        """Return the names of an enumeration's members; empty if this version lacks the enumeration."""
        return tuple(getattr(getattr(self.module, enumeration, None), "__members__", ()))


def import_library(name: str) -> TensorRtLibrary:
    """Import TensorRT or TensorRT-RTX by the name of its Python module.

    Raises:
        MissingRequirement: the library is not installed or does not load.
    """
    module = require(name, f"Building engines with {_TITLES[name]}")
    return TensorRtLibrary(name, module, module.__version__)


def library_title(name: str, version: str | None) -> str:
    """Return the library's name for messages, e.g. `TensorRT 10.13.3`; without a version just the name."""
    return _TITLES[name] if version is None else f"{_TITLES[name]} {version}"


def installed_version(name: str, environment: Machine) -> str | None:
    """Return the version of an installed library, from package metadata without importing it; None if not installed."""
    versions = (environment.version(distribution) for distribution in _DISTRIBUTIONS[name])
    return next((version for version in versions if version is not None), None)


def major(version: str) -> int:
    """Return the first number of a version text, e.g. 10 for `10.13.3`."""
    return int(version.split(".", 1)[0])
