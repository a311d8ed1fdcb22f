"""Copy a module without copying its tensors, so that a changed copy of a large network needs no memory."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn


def sharing_copy(module: nn.Module) -> nn.Module:
    """Return a copy of a module that has the same tensors as the module.

    A tensor of the copy may be replaced by another one. It must not be changed in place.
    """
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, memo)
