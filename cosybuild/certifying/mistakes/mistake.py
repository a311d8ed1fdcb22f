"""The type of a known mistake, and functions that make a module with a mistake from the right module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from cosybuild.certifying.module_copies import sharing_copy

Tensors = dict[str, Tensor]
Plant = Callable[[nn.Module, Sequence[str], Sequence[str]], nn.Module]
"""A function (right module, names of its inputs, names of its outputs) -> copy of the module with a mistake.

The right module is not changed.
"""

EPSILON = "epsilon"
"""The name of the mistake that layer norms have a wrong epsilon. The nodes of a graph also show this mistake."""


@dataclass(frozen=True)
class Mistake:
    """One mistake that a file from elsewhere can have.

    Attributes:
        name: a short name for reports.
        says: a phrase that describes the mistake and follows "It looks like this mistake:".
        remedy: a sentence that says what is right, or what to do.
        plant: the function that makes a module with the mistake.
    """

    name: str
    says: str
    remedy: str
    plant: Plant


class Wrapped(nn.Module):
    """A module whose inputs and outputs are changed by two functions.

    Args:
        module: the wrapped module.
        names: the names of its inputs, and the names of its outputs.
        before: (inputs by name) -> the inputs to replace, by name.
        after: (module, inputs by name, outputs by name) -> the outputs to replace, by name.
    """

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
        """Call the module with the changed inputs, and return its changed outputs; both are passed by position."""
        given = dict(zip(self.names[0], values, strict=True))
        answer = self.module(*{**given, **self.before(given)}.values())
        answers = answer if isinstance(answer, tuple) else (answer,)
        found = dict(zip(self.names[1], answers, strict=True))
        return tuple({**found, **self.after(self.module, given, found)}.values())


def inputs(change: Callable[[Tensors], Mapping[str, Tensor]]) -> Plant:
    """Return a `Plant` for a mistake in the inputs.

    Args:
        change: (inputs by name) -> the wrong inputs by name; inputs that it leaves out stay right.
    """
    return lambda module, given, made: Wrapped(module, (given, made), change, lambda *_: {})


def outputs(change: Callable[[nn.Module, Tensors, Tensors], Mapping[str, Tensor]]) -> Plant:
    """Return a `Plant` for a mistake in the outputs.

    Args:
        change: (module, inputs by name, outputs by name) -> the wrong outputs by name; outputs that it leaves out stay
            right.
    """
    return lambda module, given, made: Wrapped(module, (given, made), lambda _: {}, change)


def parts(kind: type[nn.Module], change: Callable[[Any], None]) -> Plant:
    """Return a `Plant` for a mistake in all submodules of one class.

    Args:
        kind: the class.
        change: called with each submodule. It may replace attributes, but must not change tensors in place.
    """

    def plant(module: nn.Module, _: Sequence[str], __: Sequence[str]) -> nn.Module:
        copy = sharing_copy(module)
        for part in copy.modules():
            if isinstance(part, kind):
                change(part)
        return copy

    return plant


def swap_class(kind: type[nn.Module], other: type[nn.Module]) -> Plant:
    """Return a `Plant` for a mistake in a method: all submodules of the class `kind` become instances of `other`."""

    def change(part: Any) -> None:
        part.__class__ = other

    return parts(kind, change)
