"""The type of a known mistake, and the ways to plant one in a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from cosybuild.certifying.copies import sharing_copy

Tensors = dict[str, Tensor]
Plant = Callable[[nn.Module, Sequence[str], Sequence[str]], nn.Module]
"""(right module, names of its inputs, names of its outputs) -> module with the mistake; the right one is unchanged."""

EPSILON = "epsilon"
"""The name of a wrong epsilon of layer norms, which a graph can also show by its nodes alone."""


@dataclass(frozen=True)
class Mistake:
    """One mistake that a file made by others can have.

    Attributes:
        name: a short name, for reports and rules.
        says: the mistake in one phrase that follows "It looks like this mistake:".
        remedy: what is right, in one sentence.
        plant: makes the module with the mistake.
    """

    name: str
    says: str
    remedy: str
    plant: Plant


class Wrapped(nn.Module):
    """A module between two functions, one for the inputs and one for the outputs, which change values by name."""

    def __init__(
        self,
        module: nn.Module,
        names: tuple[Sequence[str], Sequence[str]],
        before: Callable[[Tensors], Mapping[str, Tensor]],
        after: Callable[[nn.Module, Tensors, Tensors], Mapping[str, Tensor]],
    ) -> None:
        super().__init__()
        self.module = module
        self.names = names
        self.before, self.after = before, after

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Call the module; values by position."""
        given = dict(zip(self.names[0], values, strict=True))
        answer = self.module(*{**given, **self.before(given)}.values())
        answers = answer if isinstance(answer, tuple) else (answer,)
        found = dict(zip(self.names[1], answers, strict=True))
        return tuple({**found, **self.after(self.module, given, found)}.values())


def inputs(change: Callable[[Tensors], Mapping[str, Tensor]]) -> Plant:
    """Return a `Plant` for a mistake in the inputs; `change` returns the wrong inputs by name."""
    return lambda module, given, made: Wrapped(module, (given, made), change, lambda *_: {})


def outputs(change: Callable[[nn.Module, Tensors, Tensors], Mapping[str, Tensor]]) -> Plant:
    """Return a `Plant` for a mistake in the outputs; `change` returns the wrong outputs by name."""
    return lambda module, given, made: Wrapped(module, (given, made), lambda _: {}, change)


def parts(kind: type[nn.Module], change: Callable[[Any], None]) -> Plant:
    """Return a `Plant` for a mistake in all submodules of one class.

    `change` may replace attributes of the submodule, but not change tensors in place.
    """

    def plant(module: nn.Module, _: Sequence[str], __: Sequence[str]) -> nn.Module:
        copy = sharing_copy(module)
        for part in copy.modules():
            if isinstance(part, kind):
                change(part)
        return copy

    return plant


def swap_class(kind: type[nn.Module], other: type[nn.Module]) -> Plant:
    """Return a `Plant` for a mistake in a method: all submodules of one class become instances of `other`."""

    def change(part: Any) -> None:
        part.__class__ = other

    return parts(kind, change)
