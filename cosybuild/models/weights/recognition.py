"""Recognise a model by the names of its tensors, for error messages about weights of another model."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MARKS = (
    (r"transformer_blocks\.\d+\.attn\.to_q\.weight", "CosyVoice 3"),
    (r"down_blocks\.\d+\.\d+\.block1\.block\.2\.weight", "CosyVoice 2"),
    (r"down_blocks\.\d+\.\d+\.block1\.block\.1\.weight", "CosyVoice 1"),
    (r"blocks\.\d+\.conv\.block\.1\.weight", "Step-Audio 2"),
    (r"(conv_pre|conv_post)\.(parametrizations\.weight\.original0|weight_g)", "a vocoder"),
    (r"(llm_decoder|llm_embedding|speech_embedding)\.weight", "a speech language model"),
)
"""The models, each with a pattern for the end of a tensor's name that only this model has."""


def recognise_model(names: Iterable[str]) -> str | None:
    """Return the model whose tensors have these names, e.g. `CosyVoice 2`; None if no known model has them."""
    known = list(names)
    for pattern, model in _MARKS:
        mark = re.compile(rf"(.*\.)?{pattern}")
        if any(mark.fullmatch(name) for name in known):
            return model
    return None
