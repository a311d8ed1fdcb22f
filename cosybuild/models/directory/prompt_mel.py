"""The reader of a model directory's prompt mel: how the spectrogram of a prompt is computed from its samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cosybuild.config.groups.model import Family
from cosybuild.models.directory.hyperpyyaml import Node, mapping

_FUNCTION = "mel_spectrogram"
_NEW = {"sampling_rate": 24000, "n_fft": 1920, "hop_size": 480, "num_mels": 80, "fmin": 0}

PUBLISHED: Mapping[Family, Mapping[str, Any]] = {
    Family.cosyvoice1: {
        "sampling_rate": 22050, "n_fft": 1024, "hop_size": 256, "num_mels": 80, "fmin": 0, "fmax": 8000,
    },
    Family.cosyvoice2: {**_NEW, "fmax": 8000},
    Family.cosyvoice3: {**_NEW, "fmax": None},
}  # fmt: skip
"""Version -> values of the published model, by the names of the yaml. `fmax` None is half of the sampling rate."""


def prompt_mel_values(family: Family, document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the values of `feat_extractor` in a yaml, those of the published model if the yaml has none.

    Return None if the yaml describes a transform that the runtime does not compute: a centred one, or one with a
    shorter window. This is no error, because no build depends on these values.
    """
    node = document.get("feat_extractor")
    if node is None:
        return PUBLISHED[family]
    stated = mapping(node)
    if not isinstance(node, Node) or node.target.rpartition(".")[2] != _FUNCTION:
        return None
    if stated.get("center", False) is not False or stated.get("win_size") != stated.get("n_fft"):
        return None
    values = {name: stated.get(name) for name in PUBLISHED[family]}
    counts = (values[name] for name in ("sampling_rate", "n_fft", "hop_size", "num_mels"))
    if not all(isinstance(count, int) and not isinstance(count, bool) and count > 0 for count in counts):
        return None
    limits = (values["fmin"], values["fmax"] or 0)
    return values if all(isinstance(limit, int | float) and limit >= 0 for limit in limits) else None
