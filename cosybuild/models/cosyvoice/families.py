"""The CosyVoice versions: the estimator's published hyper-parameters, and its inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cosybuild.config.groups.model import Family
from cosybuild.models.spec import ModelSpec, TensorSpec

STEM = "flow.decoder.estimator"
"""The first part of the names of an estimator's artifacts."""

PREFIXES = ("decoder.estimator.", "flow.decoder.estimator.", "")
"""Prefixes of the estimator's tensors in a file of the flow model, of the whole model, and of the estimator only."""

NORM_GROUPS = 8
"""The number of groups in the group norm of version 1's estimator."""

POSITION_GROUPS = 16
"""The number of groups in the positional convolutions of version 3's estimator."""

POSITION_KERNEL = 31
"""The kernel width, in frames, of the positional convolutions of version 3's estimator."""

LOOKAHEAD_KERNEL = 3
"""The tokens that the second convolution of the look-ahead layer reads, which upstream fixes."""

UNET_KERNEL = 3
"""The kernel width, in frames, of the convolutions in the U-Nets (versions 1 and 2)."""

ACTIVATIONS = ("gelu", "gelu-approximate")
"""The permitted activations of the U-Nets: exact GELU, and its approximation by tanh."""


MOST_LAYERS = 1000
"""The largest permitted number of layers of one kind; published models have at most 22.

The limit is needed because a module is created before its shapes are compared with the weights file.
"""

LAYERS = ("n_blocks", "num_mid_blocks", "depth", "num_blocks", "up_blocks")
"""The names of the hyper-parameters that state a number of layers, in any network."""


@dataclass(frozen=True)
class FamilyFacts:
    """The properties of one CosyVoice version.

    Attributes:
        yaml: the name of the yaml file in a model directory, which identifies the version.
        upstream_class: the name of the estimator's class in that yaml file, without its module.
        hyperparameters: those of the published estimator, under the names of the arguments of `UNet` or `DiT`.
        frames_per_second: mel frames per second of audio.
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
    """Check the hyper-parameters of an estimator, and return a text about the first wrong one, or None.

    Args:
        family: the CosyVoice version.
        values: a value for every hyper-parameter of this version.
    """
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
    """Return a text if a hyper-parameter asks for more than `MOST_LAYERS` layers, or None.

    Args:
        name: the name of the hyper-parameter.
        value: its value, of the expected type. A list counts one layer for each entry.
    """
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
    """Return inputs and outputs of an estimator, in the order in which CosyVoice's runtime binds them.

    Args:
        family: the CosyVoice version.
        hyperparameters: those of the estimator. A DiT states the channels of each input. A U-Net states `in_channels`
            for x, mu, spks and cond together: x and cond have `out_channels` each, and mu and spks share the rest.
        frames_per_second: mel frames per second of audio.
        dynamic_batch: True for a dynamic batch axis; otherwise the batch has two rows.
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
