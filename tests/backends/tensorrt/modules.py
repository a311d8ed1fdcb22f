"""Views of the real tensorrt_rtx module with the API of other versions.

The parser, the builder and the engines they make are real. A view changes only what a version's API changes:
members of enumerations, and functions that take them. Flags that RTX does not know are noted, not passed on.
"""

from __future__ import annotations

import enum
from types import SimpleNamespace
from typing import Any

import pytest

from cosybuild.backends.tensorrt.library import TENSORRT, TensorRtLibrary

trt = pytest.importorskip("tensorrt_rtx")


class Config:
    """A real builder configuration; flags of another version are kept beside it."""

    def __init__(self, real: Any) -> None:
        object.__setattr__(self, "real", real)
        object.__setattr__(self, "noted", set())

    def set_flag(self, flag: Any) -> None:
        if isinstance(flag, _NOTED):
            self.noted.add(flag.name)
        else:
            self.real.set_flag(flag)

    def clear_flag(self, flag: Any) -> None:
        if isinstance(flag, _NOTED):
            self.noted.discard(flag.name)
        else:
            self.real.clear_flag(flag)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.real, name, value)


class Weak(enum.Enum):
    FP16 = 0
    BF16 = 22


class Creation(enum.IntEnum):
    """The creation flags with TensorRT 10's numbers."""

    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


_NOTED = (Weak,)


class Builder:
    """A real builder whose networks take the other version's flags."""

    made: list[Builder] = []  # noqa: RUF012  # a log of the test that reads it

    def __init__(self, logger: Any) -> None:
        self.real = trt.Builder(logger)
        self.flags: int | None = None
        self.config: Config | None = None
        Builder.made.append(self)

    def create_network(self, flags: int) -> Any:
        self.flags = flags
        return self.real.create_network(0)

    def create_builder_config(self) -> Any:
        self.config = Config(self.real.create_builder_config())
        return self.config

    def build_serialized_network(self, network: Any, config: Config) -> Any:
        return self.real.build_serialized_network(network, config.real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def _members(enumeration: Any, *removed: str, added: dict[str, Any] | None = None) -> SimpleNamespace:
    kept = {name: member for name, member in enumeration.__members__.items() if name not in removed}
    kept.update(added or {})
    return SimpleNamespace(**kept, __members__=kept)


def _view(version: str, **changed: Any) -> TensorRtLibrary:
    names = {name: getattr(trt, name) for name in dir(trt) if not name.startswith("_")}
    # TensorRT builds for the GPU it finds.
    names.pop("ComputeCapability")
    return TensorRtLibrary(
        TENSORRT, SimpleNamespace(**{**names, "Builder": Builder, "__version__": version, **changed}), version
    )


def tensorrt_10() -> TensorRtLibrary:
    """Return the API of version 10: weak typing by flags, two flags of networks, no MONITOR_MEMORY before 10.1."""
    return _view(
        "10.0.1",
        BuilderFlag=_members(trt.BuilderFlag, "MONITOR_MEMORY", added={flag.name: flag for flag in Weak}),
        NetworkDefinitionCreationFlag=_members(SimpleNamespace(__members__={}), added=dict(Creation.__members__)),
    )


def tensorrt_11() -> TensorRtLibrary:
    """Return the API of version 11: no weak typing, no EXPLICIT_BATCH, and always strong typing without a flag."""
    return _view(
        "11.4.1",
        BuilderFlag=_members(trt.BuilderFlag, "DIRECT_IO"),
        NetworkDefinitionCreationFlag=_members(SimpleNamespace(__members__={})),
    )


def rtx() -> TensorRtLibrary:
    """Return the module unchanged."""
    return TensorRtLibrary("tensorrt_rtx", trt, trt.__version__)
