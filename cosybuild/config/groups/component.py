"""`component`: the network of a model directory that is built."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cosybuild.config.groups.field import setting


class ComponentName(str, Enum):
    """The components that can be built. `models/components/` has one module for each, except for `token2wav`."""

    estimator = "estimator"
    frontend = "frontend"
    vocoder = "vocoder"
    speaker = "speaker"
    tokenizer = "tokenizer"
    token2wav = "token2wav"


@dataclass(frozen=True)
class ComponentSettings:
    """The component that is built. There are no further settings: everything else follows from the model."""

    name: ComponentName = setting(
        ComponentName.estimator,
        "estimator: the flow decoder's network, called once per step; frontend: from speech tokens and a prompt to "
        "the estimator's mu, spks and cond; vocoder: from a log-mel spectrogram to a waveform; speaker: "
        "from the filter bank of a recording to a speaker vector; tokenizer: from the log-mel spectrogram of a "
        "recording to speech tokens; token2wav: all of these in one plan.",
    )
