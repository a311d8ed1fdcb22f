"""`model`: the model that is built."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from cosybuild.config.groups.field import setting


class Family(str, Enum):
    """The family of the model."""

    auto = "auto"
    cosyvoice1 = "cosyvoice1"
    cosyvoice2 = "cosyvoice2"
    cosyvoice3 = "cosyvoice3"
    module = "module"
    onnx = "onnx"


@dataclass(frozen=True)
class TensorSettings:
    """One declared input or output of `model=module` or `model=onnx`."""

    name: str = setting("???", "Name in the ONNX graph.")
    shape: tuple[Any, ...] = setting(tuple, "One entry per axis: a fixed size, or a name for an axis that varies.")
    dtype: str = setting("float32", "float32, float16, bfloat16, int32, int64 or bool.")
    generator: str = setting(
        "normal", "How test values are made: normal, uniform, mel, speech, mask, time, integer, ones."
    )
    low: float = setting(0.0, "Lower end for uniform, time and integer.")
    high: float = setting(1.0, "Upper end for uniform, time and integer (excluded for integer).")


@dataclass(frozen=True)
class ModelSettings:
    """The model that is built: its family, and for an open family (module, onnx) its source."""

    family: Family = setting(Family.auto, "auto reads it off model_dir, and is cosyvoice2 without one.")
    streaming: bool = setting(False, "Chunk mask in the graph: a frame sees its chunk and all before it.")
    seed: int = setting(0, "Seed of the random weights that are used where no weights are given.")
    weights: str | None = setting(
        None,
        "A weights file in place of model_dir's flow.pt: .pt, .safetensors, whole flow or bare estimator.",
        local=True,
    )
    hyperparameters: Any = setting(
        None, "{name: value} in place of the family's hyper-parameters; only where no model_dir states them."
    )
    target: Any = setting(None, "model=module: a Hydra node with _target_ that makes the nn.Module.")
    path: str | None = setting(None, "model=onnx: the existing ONNX file.", local=True)
    name: str | None = setting(None, "Stem of the artifacts' names; the family's own name where not given.")
    inputs: tuple[TensorSettings, ...] = setting(tuple, "Inputs in binding order (module, onnx).")
    outputs: tuple[TensorSettings, ...] = setting(tuple, "Outputs in binding order (module, onnx).")
    frames_per_second: float | None = setting(None, "What one step of seq_len means in time (module, onnx).")
