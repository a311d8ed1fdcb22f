"""Modules with weights: seeded random ones, and those of a state dict."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import nn

    from cosybuild.models.checkpoint import Weights

Made = TypeVar("Made")
Note = Callable[[str], object]
"""Called with notes on the weights for the user, e.g. that they were float16."""


def call_seeded(seed: int, make: Callable[[], Made]) -> Made:
    """Call `make` with torch's CPU generator seeded, and restore the generator's state afterwards."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make()


def fill(module: nn.Module, weights: Weights, note: Note) -> None:
    """Make the tensors of a file the parameters of a module, and pass on the notes."""
    module.load_state_dict(weights.tensors, strict=True, assign=True)
    for line in weights.notes:
        note(line)
