"""The component `tokenizer`, which computes speech tokens from the log-mel spectrogram of a recording."""

from __future__ import annotations

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family
from cosybuild.models.components.graph_file import GraphFile
from cosybuild.models.spec import Axis, ModelSpec, TensorSpec

_LONGEST = 3000
"""The frames of the longest recording that CosyVoice passes to the tokenizer: 30 s."""

TOKENIZER = GraphFile(
    name=ComponentName.tokenizer,
    files={
        Family.cosyvoice1: ("speech_tokenizer_v1.onnx",),
        Family.cosyvoice2: ("speech_tokenizer_v2.onnx", "speech_tokenizer_v2_25hz.onnx"),
        Family.cosyvoice3: ("speech_tokenizer_v3.onnx",),
    },
    spec=ModelSpec(
        inputs=(
            TensorSpec("feats", (1, 128, "seq_len"), generator="whisper"),
            TensorSpec("feats_length", (1,), "int32", "length"),
        ),
        outputs=(TensorSpec("indices", (1, "tokens"), "int32", kind="tokens"),),
        # A hop of 160 samples at 16 kHz.
        frames_per_second=100.0,
        axes={"seq_len": Axis(most=_LONGEST)},
    ),
)
