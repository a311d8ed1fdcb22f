"""The description of one variant of a CosyVoice network, which determines its PyTorch module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cosybuild.config.groups.model import Family
from cosybuild.config.groups.vocoder import VocoderSettings

CACHED = "cached"
"""The word for the cached variant in the names of artifacts and in manifests (`Subject.form`)."""


@dataclass(frozen=True)
class Variant:
    """One variant of a component, which determines its module and its graph.

    Attributes:
        family: the version of CosyVoice.
        hyperparameters: a value for every name that the component has in this version.
        streaming: True for the variant in which a frame does not see later chunks.
        cached: True for the streaming variant with caches as inputs and outputs.
        cache_frames: the most frames of history that a call of the cached variant reads; None for no limit.
        vocoder: the variant of a vocoder's graph; other components do not read it.
    """

    family: Family
    hyperparameters: Mapping[str, Any]
    streaming: bool
    vocoder: VocoderSettings = field(default_factory=VocoderSettings)
    cached: bool = False
    cache_frames: int | None = None
