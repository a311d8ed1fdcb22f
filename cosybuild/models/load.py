"""Load the PyTorch module of a `Subject`, with the weights of a file or with random weights from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from cosybuild.config.groups.model import Family
from cosybuild.errors import ModelError
from cosybuild.models.calling import make_flat
from cosybuild.models.checkpoint import read_weights
from cosybuild.models.components.registry import COMPONENTS
from cosybuild.models.module_weights import Note, call_seeded, fill
from cosybuild.models.subject import Subject

Module = TypeVar("Module", bound=nn.Module)


def _ignore(note: str) -> None:
    """Ignore a note on the weights: the default of the argument `note`."""


def load_module(subject: Subject, weights: Path | None, note: Note = _ignore) -> nn.Module:
    """Return a module in evaluation mode, without gradients, whose `forward` takes the declared inputs in order.

    Args:
        subject: the resolved model, which must not be an existing ONNX graph.
        weights: the weights file, or None for random weights, which are equal for equal seeds.
        note: called with each sentence about the weights that the user should see, e.g. that they were float16.

    Raises:
        CheckpointError: the weights cannot be read or do not fit.
        ModelError: `model.target` does not construct a module that accepts the declared inputs.
    """
    if subject.family is Family.module:
        module = _instantiated(subject)
        _widen(module, subject, note)
        if weights is not None:
            fill(module, read_weights(weights, module.state_dict(), prefixes=("",), asked=subject.weights_from), note)
        return module.eval().requires_grad_(False)
    component = COMPONENTS[subject.component]
    return component.exportable(load_network(subject, weights, note), subject.variant).eval()


def load_network(subject: Subject, weights: Path | None, note: Note = _ignore) -> nn.Module:
    """Return the network of a CosyVoice component, whose state dict has the names of CosyVoice's checkpoints.

    The arguments are those of `load_module`. `load_module` also wraps the network for the export.
    """
    return COMPONENTS[subject.component].load(subject.variant, weights, subject.seed, note, subject.weights_from)


def prepare_for_export(module: Module) -> Module:
    """Fuse linear layers in place, so that the graph has fewer nodes, and return the module.

    The projections to q, k and v are fused with the scale, and so are all time projections of a U-Net. The module still
    computes the same function, but its state dict has other names, so the weights must be loaded first.
    """
    for part in list(module.modules()):
        fuse = getattr(part, "fuse_for_export", None)
        if fuse is not None:
            fuse()
    return module


def _instantiated(subject: Subject) -> nn.Module:
    target = subject.hyperparameters["target"]
    module = construct_module(target, subject.seed)
    inputs, outputs = ([tensor.name for tensor in side] for side in (subject.spec.inputs, subject.spec.outputs))
    make_flat(module, str(target["_target_"]), inputs, outputs, subject.hyperparameters.get("arguments"))
    return module


def construct_module(target: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """Return the module that the setting `model.target` constructs.

    Args:
        target: a mapping with the dotted name `_target_` of a class or function, and its arguments.
        seed: seed of torch's CPU generator during the construction.

    Raises:
        ModelError: the construction fails, or its result is not a module that can be called without further steps.
    """
    from hydra.errors import HydraException
    from hydra.utils import instantiate
    from omegaconf.errors import OmegaConfBaseException

    name = target["_target_"]
    try:
        module: Any = call_seeded(seed, lambda: instantiate({"_convert_": "all", **target}))
    # Hydra raises Python's built-in errors for its own arguments, such as `_recursive_`.
    except (HydraException, OmegaConfBaseException, TypeError, ValueError, AttributeError, LookupError) as error:
        cause = error.__cause__ or error
        raise ModelError(
            f"model.target could not be constructed: {name} raised {type(cause).__name__}: {cause}",
            hint="Next: call it in Python with the same arguments.",
        ) from error
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"model.target returned a {type(module).__name__}; {name} must return a torch.nn.Module.",
            hint="Next: name the module's class, or a function that returns a module.",
        )
    _check_complete(module, name)
    return module


def _widen(module: nn.Module, subject: Subject, note: Note) -> None:
    """Convert 16-bit parameters to float32 in place, because a build begins with float32.

    Nothing is converted if a declared input has a 16-bit type.
    """
    found = {tensor.dtype for tensor in module.state_dict().values()} & {torch.float16, torch.bfloat16}
    if found and all(tensor.dtype not in ("float16", "bfloat16") for tensor in subject.spec.inputs):
        module.float()
        kinds = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in found))
        note(f"the module's {kinds} parameters were converted to float32; precision=fp16 or bf16 lowers the graph")


def _check_complete(module: nn.Module, name: str) -> None:
    """Check that a module can be called without further steps.

    Raises:
        ModelError: the module has no `forward`, or lazy layers, whose sizes are unknown before the first call.
    """
    # A TorchScript module without code has no attribute `forward`.
    if not callable(getattr(module, "forward", None)):
        raise ModelError(
            f"model.target returned a {type(module).__name__} without a method forward.",
            hint=f"Next: name a class with a forward of its own instead of {name}.",
        )
    tensors = (*module.named_parameters(), *module.named_buffers())
    lazy = [path for path, tensor in tensors if nn.parameter.is_lazy(tensor)]
    if lazy:
        raise ModelError(
            f"{name} has tensors whose shapes only a first call decides: {', '.join(lazy[:3])}. The weights of such "
            "a layer cannot be made or read before that call.",
            hint="Next: state the sizes: use torch.nn.Conv1d(in_channels, ...) instead of torch.nn.LazyConv1d(...).",
        )
