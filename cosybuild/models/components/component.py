"""The type `Component`: all facts and functions in which the networks of a model directory differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family
from cosybuild.models.module_weights import Note
from cosybuild.models.spec import ModelSpec
from cosybuild.models.variant import Variant

if TYPE_CHECKING:
    from torch import nn
    from torch.jit import ScriptModule

    from cosybuild.models.cosyvoice.frontend.torchscript import Call

Hyperparameters = Mapping[str, Any]


@dataclass(frozen=True)
class Script:
    """The part of a network that CosyVoice's `load_jit` loads as TorchScript.

    The functions are described as (arguments) -> result.

    Attributes:
        stem: the first part of the names of the TorchScript files.
        families: the CosyVoice versions whose runtime loads these files.
        interface: (element type, e.g. `float16`) -> inputs and outputs, in the form that manifests use.
        make: (network, variant, True for float16) -> TorchScript module. The call changes the network in place.
        calls: (network in float32, variant, seed) -> calls with the arguments that CosyVoice's own code passes.
    """

    stem: str
    families: frozenset[Family]
    interface: Callable[[str], Mapping[str, Any]]
    make: Callable[[nn.Module, Variant, bool], ScriptModule]
    calls: Callable[[nn.Module, Variant, int], Iterator[Call]]


@dataclass(frozen=True)
class Component:
    """One network of a model directory, described by facts and functions.

    The functions are described as (arguments) -> result. They import torch only when they are called.

    Attributes:
        name: the option of the configuration group `component` that chooses this network.
        stem: the first part of the names of the network's artifacts.
        weights: the name of the weights file in a model directory. A file with the same stem and the suffix
            `.safetensors` is also accepted.
        published: the published model's hyper-parameters, for each CosyVoice version that has this network.
        streaming: the CosyVoice versions in which the network has a streaming variant.
        cached: the CosyVoice versions in which the network has a variant with caches as inputs and outputs.
        dynamic_batch: True if the batch axis may be dynamic.
        reads_vocoder: True if the settings of the group `vocoder` change the graph.
        has_solver: True if the flow-matching solver calls the network.
        read: (yaml file, version, parsed content of the file) -> hyper-parameters; raises a ModelDirectoryError.
        fault: (version, hyper-parameters) -> a text that says which hyper-parameter is wrong, or None.
        spec: (variant, mel frames per second, True for a dynamic batch axis) -> inputs and outputs.
        load: (variant, weights file or None, seed, note, `model.weights_from` or None) -> network with the weights of
            the file, or without a file with random weights, which are equal for equal seeds; raises a CheckpointError.
        script: the part that CosyVoice's runtime loads as TorchScript; None if there is no such part.
        serving: (variant) -> facts for the manifest that a runtime needs besides the hyper-parameters.
        exportable: (network, variant) -> module whose `forward` takes exactly the declared inputs.
    """

    name: ComponentName
    stem: str
    weights: str
    published: Mapping[Family, Hyperparameters]
    streaming: frozenset[Family]
    dynamic_batch: bool
    has_solver: bool
    read: Callable[[Path, Family, Mapping[str, Any]], dict[str, Any]]
    fault: Callable[[Family, Hyperparameters], str | None]
    spec: Callable[[Variant, float, bool], ModelSpec]
    load: Callable[[Variant, Path | None, int, Note, str | None], nn.Module]
    exportable: Callable[[nn.Module, Variant], nn.Module]
    cached: frozenset[Family] = frozenset()
    reads_vocoder: bool = False
    script: Script | None = None
    serving: Callable[[Variant], Mapping[str, Any]] = lambda _: {}
