"""The interface of a loaded artifact: its inputs, outputs and profiles. Pure data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cosybuild.identity import ESTIMATOR_PORTS

*INPUTS, OUTPUT = ESTIMATOR_PORTS

RANKS = (3, 3, 3, 1, 2, 3, 3)
"""Number of axes of each input and of the output, in the order of `ESTIMATOR_PORTS`."""

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class Port:
    """One input or output.

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
    """The shapes of one input that a profile allows; `largest` is None on axes without a limit."""

    smallest: Shape
    largest: tuple[int | None, ...]

    def holds(self, shape: Shape) -> bool:
        """Return True if `shape` is within the span."""
        if len(shape) != len(self.smallest):
            return False
        limits = zip(self.smallest, shape, self.largest, strict=True)
        return all(low <= size and (high is None or size <= high) for low, size, high in limits)

    def contains(self, other: Span) -> bool:
        """Return True if every shape of `other` is within this span."""
        return all(
            a <= b and (c is None or (d is not None and d <= c))
            for a, b, c, d in zip(self.smallest, other.smallest, self.largest, other.largest, strict=True)
        )

    def __str__(self) -> str:
        axes = zip(self.smallest, self.largest, strict=True)
        return "x".join(str(a) if a == b else f"{a}..{'any' if b is None else b}" for a, b in axes)


Profile = Mapping[str, Span]
"""Input name -> the shapes that it may have."""


@dataclass(frozen=True)
class Interface:
    """All ports in binding order, and the profiles. A graph has one profile: its fixed and free axes."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    profiles: tuple[Profile, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all ports, in binding order."""
        return tuple(port.name for port in (*self.inputs, *self.outputs))

    @property
    def dtype(self) -> str:
        """The dtype of the first input; by the contract it is the dtype of all ports."""
        return self.inputs[0].dtype

    def choose(self, shapes: Shapes) -> int | None:
        """Return the index of the smallest profile that covers every input; None if no profile covers them."""
        covering = [
            index
            for index, profile in enumerate(self.profiles)
            if all(span.holds(shapes[name]) for name, span in profile.items())
        ]
        return min(covering, key=self.volume, default=None)

    def volume(self, index: int) -> float:
        """Return the number of elements of all inputs at a profile's maximum; infinite if an axis has no limit."""
        total = 0.0
        for span in self.profiles[index].values():
            size = 1.0
            for high in span.largest:
                size *= float("inf") if high is None else high
            total += size
        return total

    def covers(self, other: Interface) -> bool:
        """Return True if each profile of `other` is within a profile of this interface."""
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
    """Return the profile of a graph: fixed axes keep their size, dynamic axes take any size from 1."""
    return {
        port.name: Span(tuple(1 if size is None else size for size in port.shape), tuple(port.shape)) for port in inputs
    }
