"""`export`: the conversion from PyTorch to ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cosybuild.config.groups.field import setting


class Exporter(str, Enum):
    """The exporter of torch that writes the graph."""

    torchscript = "torchscript"
    dynamo = "dynamo"


class Attention(str, Enum):
    """The form in which attention is written."""

    spelled = "spelled"
    operator = "operator"


@dataclass(frozen=True)
class ExportSettings:
    """Settings of the export to ONNX."""

    opset: int = setting(18, "Opset of the default domain, 17 to 23. What is written must be what was asked for.")
    exporter: Exporter = setting(Exporter.torchscript, "torchscript: fast, every opset; dynamo: slower, from opset 18.")
    dynamic_batch: bool = setting(False, "Make the batch axis dynamic too, under the name batch.")
    attention: Attention = setting(
        Attention.spelled,
        "spelled: products and softmax, which runtimes fuse; operator: one Attention, from opset 23 (CosyVoice only).",
    )
    constant_folding: bool = setting(
        True, "Fold constant sub-graphs while exporting (dynamo: run its graph optimiser, folding included)."
    )
    example_sizes: dict[str, int] = setting(
        dict, "Sizes of dynamic axes in the example that is traced, for models that do not take every size."
    )
