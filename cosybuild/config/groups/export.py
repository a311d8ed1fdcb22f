"""`export`: the conversion from PyTorch to ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cosybuild.config.groups.field import setting


class Exporter(str, Enum):
    """The exporter of PyTorch that writes the ONNX graph."""

    torchscript = "torchscript"
    dynamo = "dynamo"


class Attention(str, Enum):
    """The ONNX operators with which an exported graph computes attention."""

    spelled = "spelled"
    operator = "operator"


@dataclass(frozen=True)
class ExportSettings:
    """Settings of the export from PyTorch to ONNX."""

    opset: int = setting(
        18, "The opset of the default domain, 17 to 23. The export fails if the exporter writes another one."
    )
    exporter: Exporter = setting(
        Exporter.torchscript, "torchscript: fast, all opsets; dynamo: slower, opset 18 and later."
    )
    dynamic_batch: bool = setting(False, "Make the batch axis dynamic too, with the name batch.")
    attention: Attention = setting(
        Attention.spelled,
        "spelled: matrix products and softmax, which runtimes fuse; operator: one node Attention, opset 23 (CosyVoice "
        "only).",
    )
    constant_folding: bool = setting(
        True,
        "Fold constant sub-graphs during the export (dynamo: run its graph optimiser, which also folds constants).",
    )
    static: dict[str, int] = setting(
        dict,
        "Fixed sizes for dynamic axes, e.g. {seq_len: 500, batch: 1}, for targets without dynamic shapes; ranges of "
        "the trt_profile for these axes are ignored.",
    )
    example_sizes: dict[str, int] = setting(
        dict, "Sizes of dynamic axes in the traced example, for models that do not accept every size."
    )
