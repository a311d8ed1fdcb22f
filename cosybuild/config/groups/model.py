"""`model`: the model that is built."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from cosybuild.config.groups.field import setting


class Family(str, Enum):
    """The family of the model; `module` and `onnx` stand for a model of the user."""

    auto = "auto"
    cosyvoice1 = "cosyvoice1"
    cosyvoice2 = "cosyvoice2"
    cosyvoice3 = "cosyvoice3"
    module = "module"
    onnx = "onnx"


@dataclass(frozen=True)
class TensorSettings:
    """One declared input or output of `model=module` or `model=onnx`."""

    name: str = setting("???", "The name of the tensor in the ONNX graph.")
    shape: Any = setting(
        None,
        "One entry for each axis: a fixed size, the name of a dynamic axis, or a sum such as `past + 1`; null: the "
        "file's shape (onnx).",
    )
    dtype: str | None = setting(
        None, "A type of numpy, e.g. float32, float16, int64 or bool, or bfloat16; null: the file's, else float32."
    )
    generator: str | None = setting(
        None,
        "The generator of test values: normal, uniform, mel, speech, speech_frames, fbank, whisper, mask, time, "
        "integer, length, ones; null: chosen by name, dtype and use.",
    )
    low: float | None = setting(None, "The lower bound for uniform, time and integer; null: 0, or as chosen.")
    high: float | None = setting(
        None, "The upper bound for uniform, time and integer (exclusive for integer); null: 1, or as chosen."
    )


@dataclass(frozen=True)
class ModelSettings:
    """The model that is built: its family, and its source for the open families `module` and `onnx`."""

    family: Family = setting(
        Family.auto, "The model family; auto: the family of model_dir, or cosyvoice2 without a model_dir."
    )
    streaming: bool = setting(
        False, "Put a chunk mask into the graph: a frame sees its own chunk and all earlier frames."
    )
    cache: bool = setting(
        False,
        "Give a streaming estimator (version 2 or 3) or front end (version 2) the keys, values and convolution inputs "
        "of earlier chunks as inputs and outputs, so that a call computes its own frames only.",
    )
    cache_frames: int | None = setting(
        None,
        "model.cache=true: the most earlier frames that a call gets, a multiple of the chunk; older ones are "
        "dropped, which changes the result; null: all of them, which is exact.",
    )
    seed: int = setting(0, "The seed of the random weights, which are used if no weights are given.")
    weights: str | None = setting(
        None,
        "A weights file instead of model_dir's flow.pt: .pt or .safetensors, with the whole flow model or the "
        "estimator only; or the index of sharded weights, or a directory that a trainer wrote.",
        local=True,
    )
    weights_from: str | None = setting(
        None,
        "The place of the weights in a checkpoint with several sets, e.g. ema or state_dict.generator; null: the usual "
        "place, and the trained weights, not their moving average.",
    )
    hyperparameters: Any = setting(
        None, "{name: value} for hyper-parameters that differ from the family's; only without a model_dir."
    )
    target: Any = setting(None, "model=module: a Hydra node with _target_ that constructs the nn.Module.")
    arguments: Any = setting(
        None, "model=module: {name: value} for arguments of forward that are no tensors, e.g. {use_cache: false}."
    )
    path: str | None = setting(None, "model=onnx: the path of the ONNX file.", local=True)
    name: str | None = setting(None, "The stem of the artifacts' names; null: the family's own name.")
    inputs: tuple[TensorSettings, ...] = setting(
        tuple, "Inputs in binding order; onnx: only what differs from the file, by name."
    )
    outputs: tuple[TensorSettings, ...] = setting(
        tuple, "Outputs in binding order; onnx: only what differs from the file, by name."
    )
    frames_per_second: float | None = setting(None, "The number of steps of seq_len in one second (module, onnx).")
