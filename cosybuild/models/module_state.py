"""The digest of a module's parameters and buffers, with which two steps can show that they made equal modules."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

METRIC = "module"
"""The key of the result of `module_facts` in the metrics of a step that constructs the module."""


def module_facts(module: nn.Module) -> dict[str, str]:
    """Return the digest of a module's state and the processor that computed the state, as JSON data for metrics.

    The state consists of the name, the type, the shape and the bytes of each parameter and buffer, including buffers
    that `state_dict` leaves out. Other attributes of the module are not included. The result is empty if a tensor has
    no plain values, such as a quantized one.
    """
    from torch import get_num_threads
    from torch.backends.cpu import get_cpu_capability

    digest = hashlib.sha256()
    tensors = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    try:
        for name, tensor in sorted(tensors, key=lambda pair: pair[0]):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(_bytes(tensor))
    except (RuntimeError, TypeError):
        return {}
    # Seeded values and computed tables may differ in the last bits between processors and numbers of threads.
    processor = f"{_processor()}, {get_cpu_capability()}, {get_num_threads()} threads"
    return {"sha256": digest.hexdigest(), "processor": processor}


def check_same_state(graph: Mapping[str, Any], reference: Mapping[str, Any], made_by: str) -> None:
    """Check that the graph and the reference outputs were made from modules with the same state.

    The check passes if one of the two has no digest, as in results of earlier releases, or if the digests were computed
    on different processors, because they are then not comparable.

    Args:
        graph: metrics of the step that exported the graph.
        reference: metrics of the step that computed the reference outputs.
        made_by: the name of the model, for the error message.

    Raises:
        ModelError: the digests differ.
    """
    (ours, here), (theirs, there) = _recorded(graph), _recorded(reference)
    if ours is None or theirs is None or here != there:
        return
    if ours != theirs:
        raise ModelError(
            f"{made_by} had other parameters or buffers when it was exported (digest {ours[:12]}) than when the "
            f"reference was computed (digest {theirs[:12]}), although its sources are the same. The graph would be "
            "compared with another model.",
            hint="Next: let its constructor draw only from torch's, numpy's and Python's shared generators, which are "
            "seeded, and let it not read the clock or an environment variable; give such a value as an argument of "
            "model.target, or the weights with model.weights=FILE.",
        )


def _recorded(metrics: Mapping[str, Any]) -> tuple[str | None, Any]:
    """Return the digest and the processor in a step's metrics; both are None if there is no valid digest."""
    facts = metrics.get(METRIC)
    digest = facts.get("sha256") if isinstance(facts, Mapping) else None
    is_one = isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) is not None
    return (digest, facts.get("processor")) if is_one and isinstance(facts, Mapping) else (None, None)


def _bytes(tensor: Tensor) -> memoryview:
    import torch

    plain = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)
    return plain.numpy().data


def _processor() -> str:
    """Return the model name of the processor in /proc/cpuinfo, or the name that Python knows."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
