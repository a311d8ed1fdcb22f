"""`Variant`, the description of a CosyVoice network from which its PyTorch module is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cosybuild.config.groups.model import Family
from cosybuild.config.groups.vocoder import VocoderSettings

CACHED = "cached"
"""The word for the cached variant in `Subject.form`, in the names of artifacts and in manifests."""


@dataclass(frozen=True)
class Variant:
    """One variant of a CosyVoice network. It determines the PyTorch module and the exported graph.

    Attributes:
        family: the CosyVoice version.
        hyperparameters: the values of all hyper-parameters that the network has in this version.
        streaming: True for the variant in which a frame does not see later chunks.
        vocoder: the settings of the group `vocoder`; only the component `vocoder` uses them.
        cached: True for the streaming variant of an estimator with caches as inputs and outputs.
        cache_frames: the largest number of history frames in a call of the cached variant; None for no limit.
    """

    family: Family
    hyperparameters: Mapping[str, Any]
    streaming: bool
    vocoder: VocoderSettings = field(default_factory=VocoderSettings)
    cached: bool = False
    cache_frames: int | None = None
