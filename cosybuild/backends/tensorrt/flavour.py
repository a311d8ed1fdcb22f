"""Which member of the TensorRT family is at work, and what it has, told by the attributes it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cosybuild.lazy import require

TENSORRT = "tensorrt"
RTX = "tensorrt_rtx"

_TITLES = {TENSORRT: "TensorRT", RTX: "TensorRT-RTX"}
# Wheels for one CUDA release carry it in their name; the plain name is a wheel that requires one of them.
_DISTRIBUTIONS = {
    TENSORRT: ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    RTX: ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
}

RTX_SMS = (75, 80, 86, 89, 120, 121)
"""What TensorRT-RTX 1.7 builds for ahead of time; a test holds it against the module."""


class Device(Protocol):
    """A GPU, as far as it decides which engines load."""

    @property
    def sm(self) -> int:
        """The compute capability times ten."""


class Machine(Protocol):
    """Where an engine would be loaded: `core.environment.Environment`, or a serving process's own view."""

    def version(self, distribution: str) -> str | None:
        """The installed version of a Python distribution."""

    @property
    def gpus(self) -> Sequence[Device]:
        """The devices an engine may be loaded on."""


@dataclass(frozen=True)
class Flavour:
    """The module that builds, and what it calls itself.

    Attributes:
        name: `tensorrt` or `tensorrt_rtx`.
        module: the imported module; every call of the family goes through it.
        version: e.g. `1.7.1.116`.
    """

    name: str
    module: Any
    version: str

    @property
    def title(self) -> str:
        """For people, e.g. `TensorRT-RTX 1.7.1.116`."""
        return title(self.name, self.version)

    @property
    def ahead_of_time(self) -> bool:
        """It builds for a compute capability that is named, not for the GPU it finds."""
        return hasattr(self.module, "ComputeCapability")

    @property
    def sms(self) -> tuple[int, ...]:
        """Compute capabilities it can build for without such a GPU; empty where it builds for the GPU it finds."""
        if not self.ahead_of_time:
            return ()
        names = self.module.ComputeCapability.__members__
        return tuple(sorted(int(name[2:]) for name in names if name.startswith("SM")))

    def member(self, enumeration: str, name: str) -> Any | None:
        """An enumeration's member, e.g. `member("BuilderFlag", "FP16")`; None where this version has none."""
        return getattr(getattr(self.module, enumeration, None), name, None)

    def members(self, enumeration: str) -> tuple[str, ...]:
        """The names an enumeration of this version has."""
        return tuple(getattr(getattr(self.module, enumeration, None), "__members__", ()))


def open_flavour(name: str) -> Flavour:
    """Import a member of the family.

    Raises:
        MissingRequirement: it is not installed or does not load.
    """
    module = require(name, f"Building engines with {_TITLES[name]}")
    return Flavour(name, module, module.__version__)


def title(name: str, version: str | None) -> str:
    """For people, e.g. `TensorRT 10.13.3`; without a version just the name."""
    return _TITLES[name] if version is None else f"{_TITLES[name]} {version}"


def installed_version(name: str, environment: Machine) -> str | None:
    """The version of a member of the family by its distribution's metadata, without importing it."""
    versions = (environment.version(distribution) for distribution in _DISTRIBUTIONS[name])
    return next((version for version in versions if version is not None), None)


def major(version: str) -> int:
    """The first number of a version."""
    return int(version.split(".", 1)[0])
