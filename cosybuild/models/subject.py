"""`Subject`, the description of the model that is built; it needs no torch."""

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
    """The parameters of the flow-matching solver that calls an estimator.

    Attributes:
        steps: number of Euler steps; CosyVoice's runtime always makes ten.
        schedule: `cosine` (t = 1 - cos(pi/2 u), for equally spaced u from 0 to 1) or `linear` (t = u).
        guidance: the rate g of classifier-free guidance: v = (1 + g) * v_cond - g * v_uncond.
    """

    steps: int = 10
    schedule: str = "cosine"
    guidance: float = 0.7


@dataclass(frozen=True)
class Subject:
    """The model that is built, with all settings that planning needs.

    Attributes:
        family: the CosyVoice version, `module` or `onnx`; never `auto`.
        spec: inputs and outputs of the requested variant (streaming, dynamic batch).
        hyperparameters: constructor arguments of the network as plain data; for `model=module`, the `_target_` node.
        streaming: True if the graph contains the chunk mask.
        weights: the weights file, or None for random weights.
        seed: seed of the random weights.
        graph: an existing ONNX file, which replaces the stage `export`; None if the model is exported.
        graph_data: the files beside `graph` that contain its weights.
        stem: the first part of the artifacts' names, e.g. `flow.decoder.estimator`.
        solver: the solver that calls the estimator; None for all other networks.
        code: the trace of a user's module; None for other families, and until planning has made the trace.
        origin: the file or hub that the model was read from, for messages, e.g. `CosyVoice2-0.5B/cosyvoice2.yaml`.
        notes: sentences about the model that the user should see.
        component: the network of a CosyVoice model; it has no meaning for other families.
        form: one word for each difference from the component's default variant, e.g. `cached`. The words are parts of
            keys and of the names of artifacts.
        vocoder: the settings of the group `vocoder`, for the component `vocoder`.
        weights_data: the shards beside `weights`, if that is an index of sharded weights.
        weights_from: the setting `model.weights_from`, which chooses one of several state dicts; None if it is not set.
        prompt_mel: for a front end, the parameters of the prompt's mel spectrogram by their names in the yaml. None for
            other components, or if the runtime cannot compute this spectrogram.
        cache_frames: for a cached estimator, the largest number of history frames in a call; None for no limit, and for
            other networks.
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
        """The variant of the CosyVoice component, from which its PyTorch module is made."""
        return Variant(
            self.family, self.hyperparameters, self.streaming, self.vocoder, CACHED in self.form, self.cache_frames
        )

    @property
    def weights_label(self) -> str:
        """The text for the weights in reports, e.g. `flow.pt` or `random(seed=0)`."""
        if self.graph is not None:
            return f"in {self.graph.name}"
        if self.weights is not None:
            return self.weights.name
        read = () if self.code is None else self.code.weight_files
        return f"{', '.join(read)} (read by the code)" if read else f"random(seed={self.seed})"

    @property
    def has_random_weights(self) -> bool | None:
        """True if no file holds the weights; None for a module of the user whose code is not traced yet."""
        if self.weights is not None or self.graph is not None:
            return False
        if self.family is Family.module and self.code is None:
            return None
        return self.code is None or not self.code.weight_files
