"""The hyper-parameters of the front ends: the published values, and the check of given values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cosybuild.config.groups.model import Family
from cosybuild.models.cosyvoice.families import too_many_layers

LAYER_EPSILON = 1e-12
"""Epsilon of the two layer norms in a conformer layer, a constant in CosyVoice's code."""

EPSILON = 1e-5
"""Epsilon of all other layer norms, torch's default."""

_SHARED = {"vocab_size": 6561, "input_size": 512, "output_size": 80, "spk_embed_dim": 192}
_ENCODER = {"encoder_size": 512, "attention_heads": 8, "linear_units": 2048, "num_blocks": 6}

PUBLISHED: Mapping[Family, Mapping[str, Any]] = {
    Family.cosyvoice1: {
        **_SHARED,
        "vocab_size": 4096,
        **_ENCODER,
        "sampling_ratios": (1, 1, 1, 1),
        "input_frame_rate": 50,
    },
    Family.cosyvoice2: {
        **_SHARED,
        **_ENCODER,
        "up_blocks": 4,
        "token_mel_ratio": 2,
        "pre_lookahead_len": 3,
        "chunk_size": 25,
    },
    Family.cosyvoice3: {
        **_SHARED,
        "input_size": 80,
        "channels": 1024,
        "token_mel_ratio": 2,
        "pre_lookahead_len": 3,
    },
}
"""The hyper-parameters of the published front ends, by version and name.

`encoder_size` is the `output_size` of the encoder. `chunk_size` is a number of tokens. `up_blocks` is the number of
conformer layers after the up-sampling, a constant 4 in CosyVoice's code.
"""


def front_end_fault(family: Family, values: Mapping[str, Any]) -> str | None:
    """Check the hyper-parameters of a front end, and return a text about the first wrong one, or None.

    Args:
        family: the CosyVoice version.
        values: a value for every hyper-parameter of this version.
    """
    for name in PUBLISHED[family]:
        value = values[name]
        if name == "sampling_ratios":
            if not isinstance(value, list | tuple) or any(not _is_count(item) for item in value):
                return f"{name} is {value!r}, where a list of positive whole numbers is expected"
        elif not _is_count(value):
            return f"{name} is {value!r}, where a positive whole number is expected"
        if (fault := too_many_layers(name, value)) is not None:
            return fault
    if family is Family.cosyvoice3:
        if values["input_size"] != values["output_size"]:
            return f"input_size is {values['input_size']}, where output_size = {values['output_size']} is expected"
        return None
    width, heads = values["encoder_size"], values["attention_heads"]
    if width % 2 or width % heads:
        return f"encoder_size is {width}, where an even multiple of attention_heads = {heads} is expected"
    return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1_000_000
