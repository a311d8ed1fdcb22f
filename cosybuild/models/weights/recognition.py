"""The recognition of a model by the names of its tensors, for errors about weights of another model."""

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
"""Pattern of the end of a name -> the model that has it."""


def recognise_model(names: Iterable[str]) -> str | None:
    """Return the model whose weights have these names, e.g. `CosyVoice 2`, or None if it is not known."""
    known = list(names)
    for pattern, model in _MARKS:
        mark = re.compile(rf"(.*\.)?{pattern}")
        if any(mark.fullmatch(name) for name in known):
            return model
    return None
