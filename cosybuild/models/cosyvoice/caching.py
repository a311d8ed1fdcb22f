"""The inputs and outputs of cached networks: those of the network, and the caches of the chunks before a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cosybuild.config.groups.model import Family
from cosybuild.models.cosyvoice.families import LOOKAHEAD_KERNEL, POSITION_KERNEL, UNET_KERNEL
from cosybuild.models.shape_profile import FRAMES
from cosybuild.models.spec import Axis, ModelSpec, TensorSpec

HISTORY = "history"
"""The axis of the frames before a call; for a front end, of the tokens."""

CONV_CACHE, ATT_CACHE, OFFSET = "conv_cache", "att_cache", "x_offset"
NEW_CONV_CACHE, NEW_ATT_CACHE = "new_conv_cache", "new_att_cache"
"""The names of the inputs and outputs that hold caches. `runtime.voice.caches` has the same names."""

# The largest position that verification draws: ten minutes at 50 frames per second.
_LAST_POSITION = 30_000
# Frames of history if neither a profile nor `model.cache_frames` states them: ten seconds, and at most one minute.
_OPT, _MOST = 500, 3000


def cache_fault(family: Family, hyperparameters: Mapping[str, Any], frames: int | None) -> str | None:
    """Return the reason why an estimator or a front end with these hyper-parameters cannot have caches, or None.

    Args:
        family: the CosyVoice version.
        hyperparameters: those of the estimator.
        frames: the setting `model.cache_frames`; None if it is not set.
    """
    if family is Family.cosyvoice1:
        return "cosyvoice1 cannot compute chunks: its attention, norms and convolutions read all frames"
    if len(hyperparameters.get("channels", (0,))) > 1:
        return "the U-Net has more than one resolution, and the convolution between two reads a frame of the next chunk"
    if "static_chunk_size" in hyperparameters:
        chunk = int(hyperparameters["static_chunk_size"])
    else:  # those of a front end
        chunk = int(hyperparameters["chunk_size"]) * int(hyperparameters["token_mel_ratio"])
    if frames is not None and (frames < chunk or frames % chunk):
        return f"model.cache_frames={frames}, where a positive multiple of the chunk of {chunk} frames is expected"
    return None


def cached_spec(
    spec: ModelSpec, family: Family, hyperparameters: Mapping[str, Any], frames: int | None = None
) -> ModelSpec:
    """Return the inputs and outputs of the cached variant of an estimator.

    Args:
        spec: the inputs and outputs of the streaming estimator.
        family: CosyVoice version 2 or 3.
        hyperparameters: those of the estimator.
        frames: the largest number of history frames in one call; None if only the profile limits it.
    """
    batch = spec.inputs[0].shape[0]
    layers, heads, dim_head = _attention(family, hyperparameters)
    channels, context = _convolutions(family, hyperparameters)
    kept = (2 * layers, batch, heads, dim_head)
    inputs = [
        *spec.inputs,
        TensorSpec(CONV_CACHE, (batch, channels, context)),
        TensorSpec(ATT_CACHE, (HISTORY, *kept)),
    ]
    if family is Family.cosyvoice3:
        inputs.append(TensorSpec(OFFSET, (1,), "int64", "integer", high=_LAST_POSITION, is_index=False))
    most = _MOST if frames is None else frames
    chunk = int(hyperparameters["static_chunk_size"])
    axis = Axis(spec.frames_per_second, least=0, most=frames, sizes=(0, min(_OPT, most), most), boundaries=(chunk,))
    return replace(
        spec,
        inputs=tuple(inputs),
        outputs=(
            *spec.outputs,
            TensorSpec(NEW_CONV_CACHE, (batch, channels, context)),
            TensorSpec(NEW_ATT_CACHE, (FRAMES, *kept)),
        ),
        # The rows of a cache have another axis than the other inputs, and belong to the case's own random history.
        guidance=False,
        axes={HISTORY: axis},
    )


def cached_front_end_spec(spec: ModelSpec, hyperparameters: Mapping[str, Any], frames: int | None = None) -> ModelSpec:
    """Return the interface of the cached variant of version 2's front end.

    Args:
        spec: the interface of the streaming front end.
        hyperparameters: those of the front end.
        frames: the most frames of history that a call gets; None for no limit other than the profile's.
    """
    ratio, heads = int(hyperparameters["token_mel_ratio"]), int(hyperparameters["attention_heads"])
    width = int(hyperparameters["encoder_size"])
    most = None if frames is None else frames // ratio
    kept = (token_elements(hyperparameters) // width, 1, heads, width // heads)
    contexts = TensorSpec(CONV_CACHE, (1, 2 * width, LOOKAHEAD_KERNEL - 1))
    largest = _MOST // ratio if most is None else most
    axis = Axis(
        spec.axis("tokens").per_second,
        least=0,
        most=most,
        sizes=(0, min(_OPT // ratio, largest), largest),
        boundaries=(int(hyperparameters["chunk_size"]),),
    )
    return replace(
        spec,
        inputs=(*spec.inputs, contexts, TensorSpec(ATT_CACHE, (HISTORY, *kept))),
        outputs=(*spec.outputs, replace(contexts, name=NEW_CONV_CACHE), TensorSpec(NEW_ATT_CACHE, ("added", *kept))),
        axes={**spec.axes, HISTORY: axis},
    )


def token_elements(hyperparameters: Mapping[str, Any]) -> int:
    """Return the number of elements that one token has in the `att_cache` of version 2's front end."""
    values = hyperparameters
    layers = int(values["num_blocks"]) + int(values["token_mel_ratio"]) * int(values["up_blocks"])
    return 2 * layers * int(values["encoder_size"])


def frame_elements(family: Family, hyperparameters: Mapping[str, Any], rows: int = 2) -> int:
    """Return the number of elements of one frame in `att_cache`, for a batch of `rows` rows."""
    layers, heads, dim_head = _attention(family, hyperparameters)
    return 2 * layers * rows * heads * dim_head


def is_cached(spec: ModelSpec) -> bool:
    """Return True if the model is the cached variant of an estimator."""
    return {"x", CONV_CACHE, ATT_CACHE} <= {tensor.name for tensor in spec.inputs}


def uncached_spec(spec: ModelSpec) -> ModelSpec:
    """Return the inputs and outputs of the streaming estimator, given those of its cached variant."""
    caches = {CONV_CACHE, ATT_CACHE, OFFSET}
    inputs = tuple(tensor for tensor in spec.inputs if tensor.name not in caches)
    return replace(spec, inputs=inputs, outputs=spec.outputs[:1], guidance=True, axes={})


def _attention(family: Family, values: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return the numbers of attention layers, of heads, and of channels in a head."""
    if family is Family.cosyvoice3:
        return int(values["depth"]), int(values["heads"]), int(values["dim_head"])
    stages = 1 + int(values["num_mid_blocks"]) + 1
    return stages * int(values["n_blocks"]), int(values["num_heads"]), int(values["attention_head_dim"])


def _convolutions(family: Family, values: Mapping[str, Any]) -> tuple[int, int]:
    """Return the sum of the input channels of all causal convolutions, and the context of each in frames."""
    if family is Family.cosyvoice3:
        return 2 * int(values["dim"]), POSITION_KERNEL - 1
    (width,) = map(int, values["channels"])
    down, middle, up = int(values["in_channels"]) + 2 * width, 2 * width, 2 * width + 2 * width
    return down + int(values["num_mid_blocks"]) * middle + up + width, UNET_KERNEL - 1
