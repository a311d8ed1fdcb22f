"""Read from a model directory's yaml the parameters of the mel spectrogram that is computed for a prompt."""

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
"""The parameters in the published models, by version and by name in the yaml.

`fmax` = None stands for half of the sampling rate.
"""


def prompt_mel_values(family: Family, document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the parameters that a yaml states under `feat_extractor`, or the published ones if it has no such key.

    The result is None if the runtime cannot compute the described transform, for example one with `center: True` or
    with a window shorter than `n_fft`. This is not an error, because no build depends on these parameters.

    Args:
        family: the CosyVoice version.
        document: the parsed content of the yaml.
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
