"""The component `speaker`: the CAM++ model, which computes a speaker vector from the filter bank of a recording."""

from __future__ import annotations

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family
from cosybuild.models.components.graph_file import GraphFile
from cosybuild.models.spec import ModelSpec, TensorSpec

_FILE = "campplus.onnx"

SPEAKER = GraphFile(
    name=ComponentName.speaker,
    files=dict.fromkeys((Family.cosyvoice1, Family.cosyvoice2, Family.cosyvoice3), (_FILE,)),
    spec=ModelSpec(
        inputs=(TensorSpec("input", (1, "seq_len", 80), generator="fbank"),),
        outputs=(TensorSpec("output", (1, 192), kind="embedding"),),
        # Windows of 25 ms, 10 ms apart.
        frames_per_second=100.0,
    ),
)
