"""The CosyVoice families: their full-size hyper-parameters, and the inputs and outputs that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cosybuild.config.groups.model import Family
from cosybuild.models.spec import ModelSpec, TensorSpec

STEM = "flow.decoder.estimator"

PREFIXES = ("decoder.estimator.", "flow.decoder.estimator.", "")
"""Prefixes of an estimator's tensors: in a whole flow model, in a whole model, and in a file of its own."""

NORM_GROUPS = 8
"""The number of groups of version 1's group norm."""

POSITION_GROUPS = 16
"""The number of groups of version 3's positional convolution."""

POSITION_KERNEL = 31
"""The frames that version 3's positional convolutions read."""

UNET_KERNEL = 3
"""The frames that the convolutions of the U-Nets read."""

ACTIVATIONS = ("gelu", "gelu-approximate")
"""The activations of the U-Nets: exact GELU, and its approximation by tanh."""


MOST_LAYERS = 1000
"""The most layers of one kind; published models have at most 22. A module is made before its weights are compared."""

LAYERS = ("n_blocks", "num_mid_blocks", "depth", "num_blocks", "up_blocks")
"""The hyper-parameters of all networks that count layers. Lists with one entry for each layer have the same limit."""


@dataclass(frozen=True)
class FamilyFacts:
    """The properties of one CosyVoice version.

    Attributes:
        yaml: the file in a model directory that identifies the version.
        upstream_class: the estimator's class in that file, without the module.
        hyperparameters: those of the published model; their names are the estimator's arguments.
        frames_per_second: mel frames of one second of audio.
        streaming: True if there is a streaming variant.
    """

    yaml: str
    upstream_class: str
    hyperparameters: Mapping[str, Any]
    frames_per_second: float
    streaming: bool


_UNET = {
    "in_channels": 320,
    "out_channels": 80,
    "n_blocks": 4,
    "num_mid_blocks": 12,
    "num_heads": 8,
    "attention_head_dim": 64,
    "act_fn": "gelu",
}

FAMILIES: Mapping[Family, FamilyFacts] = {
    Family.cosyvoice1: FamilyFacts(
        "cosyvoice.yaml", "ConditionalDecoder", {**_UNET, "channels": (256, 256)}, 22050 / 256, streaming=False
    ),
    Family.cosyvoice2: FamilyFacts(
        "cosyvoice2.yaml",
        "CausalConditionalDecoder",
        {**_UNET, "channels": (256,), "static_chunk_size": 50},
        50.0,
        streaming=True,
    ),
    Family.cosyvoice3: FamilyFacts(
        "cosyvoice3.yaml",
        "DiT",
        {
            "dim": 1024,
            "depth": 22,
            "heads": 16,
            "dim_head": 64,
            "ff_mult": 2,
            "mel_dim": 80,
            "mu_dim": 80,
            "spk_dim": 80,
            "static_chunk_size": 50,
        },
        50.0,
        streaming=True,
    ),
}


def hyperparameter_fault(family: Family, values: Mapping[str, Any]) -> str | None:
    """Return the fault in a complete set of hyper-parameters (a value of the wrong kind, a contradiction), or None."""
    for name, published in FAMILIES[family].hyperparameters.items():
        expected = _expected(name, values[name], published)
        if expected is not None:
            return f"{name} is {values[name]!r}, where {expected} is expected"
        if (fault := too_many_layers(name, values[name])) is not None:
            return fault
    if family is Family.cosyvoice3:
        if values["dim"] % POSITION_GROUPS:
            return f"dim is {values['dim']}, where a multiple of {POSITION_GROUPS} is expected"
        if values["dim_head"] % 2:
            return f"dim_head is {values['dim_head']}, where rotary embedding needs an even number"
        return None
    if values["in_channels"] % 2 or values["in_channels"] < 2 * values["out_channels"] + 2:
        return (
            f"in_channels is {values['in_channels']}, where an even number is expected that holds two mels of "
            f"out_channels = {values['out_channels']} and leaves room for mu and the speaker"
        )
    if family is Family.cosyvoice1 and any(width % NORM_GROUPS for width in values["channels"]):
        return f"channels are {list(values['channels'])}, where multiples of {NORM_GROUPS} are expected"
    return None


def too_many_layers(name: str, value: Any) -> str | None:
    """Return the fault if a hyper-parameter of the right kind asks for more than `MOST_LAYERS` layers, or None."""
    if isinstance(value, list | tuple) and len(value) > MOST_LAYERS:
        return f"{name} has {len(value):,} entries, where at most {MOST_LAYERS:,} are expected"
    if name in LAYERS and value > MOST_LAYERS:
        return f"{name} is {value}, where at most {MOST_LAYERS:,} is expected"
    return None


def _expected(name: str, value: Any, published: Any) -> str | None:
    """Return the expected kind of `value`; None if it has the kind and range of the published model's value."""
    if isinstance(published, tuple):
        right = isinstance(value, list | tuple) and bool(value) and all(_is_count(item) for item in value)
        return None if right else "a list of positive whole numbers"
    if isinstance(published, str):
        return None if value in ACTIVATIONS else f"one of {', '.join(ACTIVATIONS)}"
    if name == "ff_mult":
        right = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1000
        return None if right else "a positive number"
    return None if _is_count(value) else "a positive whole number"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1_000_000


def estimator_spec(
    family: Family, hyperparameters: Mapping[str, Any], frames_per_second: float, dynamic_batch: bool
) -> ModelSpec:
    """Return inputs and outputs of an estimator, in the order in which upstream's runtime binds them.

    Args:
        hyperparameters: a U-Net's `in_channels` is that of x, mu, spks and cond together, where x and cond are as wide
            as `out_channels` and mu and spks share the rest; a DiT states each width.
    """
    if family is Family.cosyvoice3:
        mel, mu, spk = (int(hyperparameters[name]) for name in ("mel_dim", "mu_dim", "spk_dim"))
    else:
        mel = int(hyperparameters["out_channels"])
        # x and cond are mels; mu and spks share the remaining channels.
        mu = spk = (int(hyperparameters["in_channels"]) - 2 * mel) // 2
    batch: int | str = "batch" if dynamic_batch else 2
    frames = "seq_len"
    return ModelSpec(
        inputs=(
            TensorSpec("x", (batch, mel, frames), generator="normal"),
            TensorSpec("mask", (batch, 1, frames), generator="mask"),
            TensorSpec("mu", (batch, mu, frames), generator="normal"),
            TensorSpec("t", (batch,), generator="time"),
            TensorSpec("spks", (batch, spk), generator="normal"),
            TensorSpec("cond", (batch, mel, frames), generator="mel"),
        ),
        outputs=(TensorSpec("estimator_out", (batch, mel, frames)),),
        guidance=True,
        frames_per_second=frames_per_second,
    )
