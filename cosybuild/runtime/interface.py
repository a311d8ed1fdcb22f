"""The inputs, outputs and profiles of a loaded artifact, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cosybuild.identity import ESTIMATOR_PORTS

*INPUTS, OUTPUT = ESTIMATOR_PORTS

RANKS = (3, 3, 3, 1, 2, 3, 3)
"""Number of axes of each tensor of an estimator, in the order of `ESTIMATOR_PORTS`: six inputs, then the output."""

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class Port:
    """One input or output of an artifact.

    Attributes:
        name: the name of the tensor.
        dtype: `float32`, `float16` or `bfloat16`.
        shape: size of each axis; None for a dynamic axis.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Span:
    """The range of shapes of one input in one profile.

    Attributes:
        smallest: the minimum size of each axis.
        largest: the maximum size of each axis; None for an axis without a limit.
    """

    smallest: Shape
    largest: tuple[int | None, ...]

    def holds(self, shape: Shape) -> bool:
        """Return True if every axis of `shape` is within the range."""
        if len(shape) != len(self.smallest):
            return False
        limits = zip(self.smallest, shape, self.largest, strict=True)
        return all(low <= size and (high is None or size <= high) for low, size, high in limits)

    def contains(self, other: Span) -> bool:
        """Return True if every shape in the range `other` is in this range too."""
        return all(
            a <= b and (c is None or (d is not None and d <= c))
            for a, b, c, d in zip(self.smallest, other.smallest, self.largest, other.largest, strict=True)
        )

    def __str__(self) -> str:
        axes = zip(self.smallest, self.largest, strict=True)
        return "x".join(str(a) if a == b else f"{a}..{'any' if b is None else b}" for a, b in axes)


Profile = Mapping[str, Span]
"""Input name -> the range of shapes that the profile allows for this input."""


@dataclass(frozen=True)
class Interface:
    """The inputs and outputs of an artifact in binding order, and its profiles.

    An engine has one or more profiles. An ONNX graph has one, which `free_profile` makes from its fixed and dynamic
    axes.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    profiles: tuple[Profile, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all inputs and outputs, in binding order."""
        return tuple(port.name for port in (*self.inputs, *self.outputs))

    @property
    def dtype(self) -> str:
        """The type of the first input. The contract demands the same type for all inputs and outputs."""
        return self.inputs[0].dtype

    def choose(self, shapes: Shapes) -> int | None:
        """Return the index of the smallest profile that covers the shapes of all inputs; None if there is none."""
        covering = [
            index
            for index, profile in enumerate(self.profiles)
            if all(span.holds(shapes[name]) for name, span in profile.items())
        ]
        return min(covering, key=self.volume, default=None)

    def volume(self, index: int) -> float:
        """Return the number of elements of all inputs together at the maximum of profile `index`.

        The number is infinite if an axis has no limit.
        """
        total = 0.0
        for span in self.profiles[index].values():
            size = 1.0
            for high in span.largest:
                size *= float("inf") if high is None else high
            total += size
        return total

    def covers(self, other: Interface) -> bool:
        """Return True if each profile of `other` lies within one profile of this interface."""
        return all(
            any(
                all(name in mine and mine[name].contains(span) for name, span in theirs.items())
                for mine in self.profiles
            )
            for theirs in other.profiles
        )

    def describe(self) -> str:
        """Return the profiles in one line, e.g. `x 2x80x4..3000, t 2`; profiles are separated by `or`."""
        return " or ".join(", ".join(f"{name} {span}" for name, span in p.items()) for p in self.profiles)


def free_profile(inputs: Sequence[Port]) -> Profile:
    """Return the profile of an ONNX graph: fixed axes keep their size, dynamic axes have a size of at least 1."""
    return {
        port.name: Span(tuple(1 if size is None else size for size in port.shape), tuple(port.shape)) for port in inputs
    }
