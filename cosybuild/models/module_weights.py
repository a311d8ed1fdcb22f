"""Give a module its weights: random ones from a seed, or those of a state dict."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import nn

    from cosybuild.models.checkpoint import Weights

Made = TypeVar("Made")
Note = Callable[[str], object]
"""A function that is called with each sentence about the weights that the user should see."""


def call_seeded(seed: int, make: Callable[[], Made]) -> Made:
    """Seed the generators of torch (CPU), numpy and Python, call `make`, and restore their states afterwards."""
    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            return make()
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def fill(module: nn.Module, weights: Weights, note: Note) -> None:
    """Put the tensors of a weights file into a module in place, and call `note` with each note about them."""
    module.load_state_dict(weights.tensors, strict=True, assign=True)
    for line in weights.notes:
        note(line)
