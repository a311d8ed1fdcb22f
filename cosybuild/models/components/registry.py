"""The registries of components: name -> component. A new component is one module and one line here."""

from __future__ import annotations

from collections.abc import Mapping

from cosybuild.config.groups.component import ComponentName
from cosybuild.models.components.component import Component
from cosybuild.models.components.estimator import ESTIMATOR
from cosybuild.models.components.frontend import FRONT_END
from cosybuild.models.components.graph_file import GraphFile
from cosybuild.models.components.speaker import SPEAKER
from cosybuild.models.components.tokenizer import TOKENIZER
from cosybuild.models.components.vocoder import VOCODER

COMPONENTS: Mapping[ComponentName, Component] = {
    component.name: component for component in (ESTIMATOR, FRONT_END, VOCODER)
}
"""The networks that are written here and exported."""

GRAPH_FILES: Mapping[ComponentName, GraphFile] = {component.name: component for component in (SPEAKER, TOKENIZER)}
"""The networks that a model directory ships as ONNX files."""
