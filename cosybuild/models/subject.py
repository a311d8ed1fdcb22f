"""The model of a build, described without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family
from cosybuild.config.groups.vocoder import VocoderSettings
from cosybuild.models.spec import ModelSpec
from cosybuild.models.user_module.trace import Trace
from cosybuild.models.variant import CACHED, Variant


@dataclass(frozen=True)
class Solver:
    """The flow-matching solver around an estimator, as the model directory states it.

    Attributes:
        steps: Euler steps (upstream's runtime always takes ten).
        schedule: `cosine` (t = 1 - cos(pi/2 u)) or `linear`.
        guidance: classifier-free guidance rate g; v = (1 + g) * v_cond - g * v_uncond.
    """

    steps: int = 10
    schedule: str = "cosine"
    guidance: float = 0.7


@dataclass(frozen=True)
class Subject:
    """One model, ready for planning.

    Attributes:
        family: never `auto`.
        spec: inputs and outputs, for the requested variant (streaming, dynamic batch).
        hyperparameters: constructor arguments of the component as plain data (module: its `_target_`
            node).
        streaming: True if the graph contains the chunk mask.
        weights: the weights file, or None for random ones.
        weights_data: the files beside it that hold sharded weights.
        weights_from: the setting `model.weights_from`.
        seed: seed of the random weights.
        graph: an existing ONNX file that replaces the export stage.
        graph_data: the files beside it that hold its weights.
        stem: the first part of the artifacts' names, e.g. `flow.decoder.estimator`.
        solver: None where the model is not a flow-matching estimator.
        code: the trace of a user's module; None for another family, and before planning has made it.
        cache_frames: for a cached estimator, the most frames of history of a call; else None.
        prompt_mel: for a front end, the parameters of the prompt's mel, with the names in the yaml; else None.
        component: the network of a CosyVoice model; without meaning for another family.
        form: one word for each difference from the component's default variant, for keys and the names of artifacts.
        vocoder: the variant of a vocoder's graph; other components do not read it.
        origin: the file or hub that the model was read from, for messages, e.g. `CosyVoice2-0.5B/cosyvoice2.yaml`.
    """

    family: Family
    spec: ModelSpec
    hyperparameters: Mapping[str, Any]
    streaming: bool = False
    weights: Path | None = None
    seed: int = 0
    graph: Path | None = None
    graph_data: tuple[Path, ...] = ()
    stem: str = "model"
    solver: Solver | None = None
    code: Trace | None = None
    origin: str = ""
    notes: tuple[str, ...] = field(default=())
    component: ComponentName = ComponentName.estimator
    form: tuple[str, ...] = ()
    vocoder: VocoderSettings = field(default_factory=VocoderSettings)
    weights_data: tuple[Path, ...] = ()
    weights_from: str | None = None
    prompt_mel: Mapping[str, Any] | None = None
    cache_frames: int | None = None

    @property
    def variant(self) -> Variant:
        """The variant of the component, from which its module is made."""
        return Variant(
            self.family, self.hyperparameters, self.streaming, self.vocoder, CACHED in self.form, self.cache_frames
        )

    @property
    def weights_label(self) -> str:
        """The report's name for the weights, e.g. `random(seed=0)`."""
        if self.graph is not None:
            return f"in {self.graph.name}"
        return self.weights.name if self.weights is not None else f"random(seed={self.seed})"
