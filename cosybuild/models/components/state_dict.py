"""The loader of networks whose tensors have the same names in the PyTorch module and in the weights file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cosybuild.models.module_weights import Note, call_seeded, fill
from cosybuild.models.variant import Variant

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class StateDictLoader:
    """A callable that loads a network from a weights file with the module's tensor names after a common prefix.

    Attributes:
        network: makes the module; imports torch when it is called.
        file: the usual name of the weights file, for error messages.
        prefixes: possible prefixes of the names in the file; the first that fits is used.
        foreign: beginnings of names (after the prefix) that belong to other components; such tensors are ignored.
    """

    network: Callable[[Variant], nn.Module]
    file: str
    prefixes: tuple[str, ...]
    foreign: tuple[str, ...] = ()

    def __call__(
        self, variant: Variant, weights: Path | None, seed: int, note: Note, asked: str | None = None
    ) -> nn.Module:
        """Return the network in evaluation mode, without gradients; the arguments are those of `Component.load`."""
        import torch

        from cosybuild.models.checkpoint import read_weights

        if weights is None:
            return call_seeded(seed, lambda: self.network(variant)).eval().requires_grad_(False)
        # A module on the meta device allocates no memory. The tensors of the file become its parameters.
        with torch.device("meta"):
            network = self.network(variant)
        wanted = network.state_dict()
        found = read_weights(weights, wanted, self.prefixes, file=self.file, foreign=self.foreign, asked=asked)
        fill(network, found, note)
        return network.eval().requires_grad_(False)
