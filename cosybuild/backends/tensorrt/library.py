"""The two libraries that build engines, TensorRT and TensorRT-RTX; attributes of the module show its features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cosybuild.lazy import require

TENSORRT = "tensorrt"
RTX = "tensorrt_rtx"

_TITLES = {TENSORRT: "TensorRT", RTX: "TensorRT-RTX"}
# A wheel for one CUDA release has the release in its name; the wheel with the plain name requires one of those.
_DISTRIBUTIONS = {
    TENSORRT: ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    RTX: ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
}

RTX_SMS = (75, 80, 86, 89, 120, 121)
"""Compute capabilities for which TensorRT-RTX 1.7 builds ahead of time; a test compares them with the module's."""


class Device(Protocol):
    """The property of a GPU that decides which engines load."""

    @property
    def sm(self) -> int:
        """The compute capability times ten."""


class Machine(Protocol):
    """The machine on which an engine is to be loaded: `system.environment.Environment`, or a serving process."""

    def version(self, distribution: str) -> str | None:
        """Return the installed version of a Python distribution; None if it is not installed."""

    @property
    def gpus(self) -> Sequence[Device]:
        """The devices on which an engine may be loaded."""


@dataclass(frozen=True)
class TensorRtLibrary:
    """An imported library of the TensorRT family.

    Attributes:
        name: `tensorrt` or `tensorrt_rtx`.
        module: the imported module; every call of the library goes through it.
        version: e.g. `1.7.1.116`.
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
        """True if the library builds for a given compute capability, False if for the GPU of this machine."""
        return hasattr(self.module, "ComputeCapability")

    @property
    def sms(self) -> tuple[int, ...]:
        """The compute capabilities for which the library builds ahead of time; empty if it needs a GPU here."""
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
    """Import a library of the family.

    Raises:
        MissingRequirement: the library is not installed or does not load.
    """
    module = require(name, f"Building engines with {_TITLES[name]}")
    return TensorRtLibrary(name, module, module.__version__)


def library_title(name: str, version: str | None) -> str:
    """Return the library's name for messages, e.g. `TensorRT 10.13.3`; without a version just the name."""
    return _TITLES[name] if version is None else f"{_TITLES[name]} {version}"


def installed_version(name: str, environment: Machine) -> str | None:
    """Return a library's version from its distribution's metadata, without importing it; None if not installed."""
    versions = (environment.version(distribution) for distribution in _DISTRIBUTIONS[name])
    return next((version for version in versions if version is not None), None)


def major(version: str) -> int:
    """Return the first number of a version."""
    return int(version.split(".", 1)[0])
