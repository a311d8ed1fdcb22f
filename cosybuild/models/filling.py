"""Give a module its weights: random ones from a seed, or those of a state dict."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import nn

    from cosybuild.models.checkpoint import Weights

Made = TypeVar("Made")
Note = Callable[[str], object]
"""A function that is called with each sentence about the weights that the user should see."""


def call_seeded(seed: int, make: Callable[[], Made]) -> Made:
    """Seed torch's CPU generator, call `make`, restore the generator's state, and return the result of `make`."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make()


def fill(module: nn.Module, weights: Weights, note: Note) -> None:
    """Put the tensors of a weights file into a module in place, and call `note` with each note about them."""
    module.load_state_dict(weights.tensors, strict=True, assign=True)
    for line in weights.notes:
        note(line)
