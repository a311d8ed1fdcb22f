"""The registries of components by name. A new component needs its own module and one line in this file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family
from cosybuild.models.components.component import Component, Script
from cosybuild.models.components.estimator import ESTIMATOR
from cosybuild.models.components.frontend import FRONT_END
from cosybuild.models.components.graph_file import GraphFile
from cosybuild.models.components.speaker import SPEAKER
from cosybuild.models.components.tokenizer import TOKENIZER
from cosybuild.models.components.vocoder import VOCODER
from cosybuild.models.variant import Variant

COMPONENTS: Mapping[ComponentName, Component] = {
    component.name: component for component in (ESTIMATOR, FRONT_END, VOCODER)
}
"""The networks that are implemented in PyTorch in this project, and exported."""


def script_of(component: ComponentName, family: Family) -> Script | None:
    """Return the part of a network that CosyVoice loads as TorchScript; None if version `family` loads none."""
    script = COMPONENTS[component].script if component in COMPONENTS else None
    return script if script is not None and family in script.families else None


def lacks_script(component: ComponentName, family: Family) -> bool:
    """Return True if CosyVoice loads the network's TorchScript in other versions, but not in version `family`."""
    network = COMPONENTS.get(component)
    return network is not None and network.script is not None and family not in network.script.families


def serving_facts(component: ComponentName, variant: Variant) -> Mapping[str, Any]:
    """Return the facts that a runtime needs of a network besides the hyper-parameters; empty for a user's network."""
    network = COMPONENTS.get(component)
    return network.serving(variant) if network is not None and variant.family in network.published else {}


GRAPH_FILES: Mapping[ComponentName, GraphFile] = {component.name: component for component in (SPEAKER, TOKENIZER)}
"""The networks that a model directory contains as ONNX files."""
