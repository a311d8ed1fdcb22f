"""The type of a component: everything that differs between the networks of one model directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family
from cosybuild.models.filling import Note
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

    Attributes:
        stem: the first part of the files' names.
        families: the versions whose runtime loads it.
        interface: dtype -> inputs and outputs, as manifests have them.
        make: (network, variant, True for float16) -> TorchScript module; the call changes the network.
        calls: (network in float32, variant, seed) -> calls with the arguments that upstream's code passes.
    """

    stem: str
    families: frozenset[Family]
    interface: Callable[[str], Mapping[str, Any]]
    make: Callable[[nn.Module, Variant, bool], ScriptModule]
    calls: Callable[[nn.Module, Variant, int], Iterator[Call]]


@dataclass(frozen=True)
class Component:
    """One network of a model directory. The functions import torch, if at all, when they are called.

    Attributes:
        name: its option of the group `component`.
        stem: the first part of its artifacts' names.
        weights: the file of a model directory that holds its tensors; a `.safetensors` file of that stem serves too.
        published: version -> hyper-parameters of the published model; the versions that have the component.
        streaming: versions with a streaming variant.
        dynamic_batch: True if the batch axis may be dynamic.
        reads_vocoder: True if the settings of the group `vocoder` change the graph.
        has_solver: True if the flow-matching solver calls the network.
        read: (yaml file, version, its document) -> hyper-parameters; raises a ModelDirectoryError.
        fault: (version, hyper-parameters) -> the fault in them, or None.
        spec: (variant, mel frames of one second, dynamic batch) -> inputs and outputs.
        load: (variant, weights file or None, seed, note, `model.weights_from` or None) -> network with the weights of
            the file, or with random ones that are equal for equal seeds; raises a CheckpointError.
        script: the part that upstream loads as TorchScript, if there is one.
        serving: (variant) -> plain facts, besides the hyper-parameters, that a runtime needs; manifests state them.
        exportable: (network, variant) -> module whose forward takes exactly the declared inputs.
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
    reads_vocoder: bool = False
    script: Script | None = None
    serving: Callable[[Variant], Mapping[str, Any]] = lambda _: {}
