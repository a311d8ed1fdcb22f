"""What a loaded artifact takes and gives, and which of its profiles covers a call. Pure data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cosybuild.identity import ESTIMATOR_PORTS

*INPUTS, OUTPUT = ESTIMATOR_PORTS

RANKS = (3, 3, 3, 1, 2, 3, 3)
"""Axes of each of them."""
DTYPES = ("float32", "float16", "bfloat16")

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class Port:
    """One input or output.

    Attributes:
        dtype: `float32`, `float16` or `bfloat16`.
        shape: a size per axis; None where it varies.
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
        """Whether `shape` lies in it."""
        if len(shape) != len(self.smallest):
            return False
        limits = zip(self.smallest, shape, self.largest, strict=True)
        return all(low <= size and (high is None or size <= high) for low, size, high in limits)

    def contains(self, other: Span) -> bool:
        """Whether every shape of `other` lies in it."""
        return all(
            a <= b and (c is None or (d is not None and d <= c))
            for a, b, c, d in zip(self.smallest, other.smallest, self.largest, other.largest, strict=True)
        )

    def __str__(self) -> str:
        axes = zip(self.smallest, self.largest, strict=True)
        return "x".join(str(a) if a == b else f"{a}..{'any' if b is None else b}" for a, b in axes)


Profile = Mapping[str, Span]
"""input -> the shapes it may have."""


@dataclass(frozen=True)
class Interface:
    """All ports in binding order, and the profiles. A graph has one profile: its fixed and free axes."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    profiles: tuple[Profile, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All ports, in binding order."""
        return tuple(port.name for port in (*self.inputs, *self.outputs))

    @property
    def dtype(self) -> str:
        """The type of the first input; the contract has one type for all."""
        return self.inputs[0].dtype

    def choose(self, shapes: Shapes) -> int | None:
        """The profile for a call: of those that cover every input, the one with the smallest maximum."""
        covering = [
            index
            for index, profile in enumerate(self.profiles)
            if all(span.holds(shapes[name]) for name, span in profile.items())
        ]
        return min(covering, key=self.volume, default=None)

    def volume(self, index: int) -> float:
        """Elements of all inputs at a profile's maximum: what it costs to be larger than needed."""
        total = 0.0
        for span in self.profiles[index].values():
            size = 1.0
            for high in span.largest:
                size *= float("inf") if high is None else high
            total += size
        return total

    def covers(self, other: Interface) -> bool:
        """Whether each profile of `other` lies within one of its own."""
        return all(
            any(
                all(name in mine and mine[name].contains(span) for name, span in theirs.items())
                for mine in self.profiles
            )
            for theirs in other.profiles
        )

    def describe(self) -> str:
        """The profiles in one line, e.g. `x 2x80x4..3000, t 2`; profiles are separated by `or`."""
        return " or ".join(", ".join(f"{name} {span}" for name, span in p.items()) for p in self.profiles)


def free_profile(inputs: Sequence[Port]) -> Profile:
    """The profile of a graph: fixed axes as they are, the others of any size."""
    return {
        port.name: Span(tuple(1 if size is None else size for size in port.shape), tuple(port.shape)) for port in inputs
    }
