"""The Triton model that computes a whole voice, with Triton's Python backend and cosybuild.runtime."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cosybuild.config.groups.deploy import TritonSettings
from cosybuild.deploy.deliverable import Deliverable

NAME = "token2wav"
"""The name of the model if `deploy.triton.model` is not set."""
CHUNK = 25
"""The smallest number of new speech tokens for which a stream is computed before its last request."""
STREAMS = 64
"""The number of streams that Triton assigns to one instance at a time, if there are several instances."""
IDLE_SECONDS = 60
"""The time without a request, in seconds, after which a stream is dropped."""

_MODEL = '''"""Speech tokens to a waveform; needs the distribution cosybuild-runtime in Triton's Python environment."""

from pathlib import Path

from cosybuild.runtime.voice.triton_model import VoiceModel


class TritonPythonModel(VoiceModel):
    """The voice whose parts are in the directory of this file."""

    def __init__(self):
        super().__init__(Path(__file__).absolute().parent)
'''


def voice_model_name(settings: TritonSettings) -> str:
    """Return the name of the model's directory in the repository."""
    return settings.model or NAME


def voice_model() -> str:
    """Return the text of model.py, which defines the Triton model."""
    return _MODEL


def voice_config(settings: TritonSettings, items: Sequence[Deliverable]) -> str:
    """Return the text of the model's config.pbtxt.

    The tensors have the names, types and shapes of token2wav in CosyVoice's Triton example. Requests are not joined
    (`max_batch_size: 1`), because utterances differ in length. One instance holds the state of a stream. If there are
    several instances, Triton's sequence batcher sends all requests with the same correlation id to the same instance.

    Args:
        settings: the settings for Triton.
        items: the artifacts of the voice, of which the front end states the number of mel bins.
    """
    mel = next((size for item in items if (size := _mel(item)) is not None), 80)
    inputs = (
        ("target_speech_tokens", "TYPE_INT32", "-1", ""),
        ("prompt_speech_tokens", "TYPE_INT32", "-1", ""),
        ("prompt_speech_feat", "TYPE_FP16", f"-1, {mel}", ""),
        ("prompt_spk_embedding", "TYPE_FP16", "-1", ""),
        ("token_offset", "TYPE_INT32", "1", " optional: true"),
        ("finalize", "TYPE_BOOL", "1", " optional: true"),
    )
    parameters = {"token_base": settings.token_base, "chunk": CHUNK, "idle_seconds": IDLE_SECONDS}
    lines = [
        f"name: {json.dumps(voice_model_name(settings))}",
        'backend: "python"',
        "max_batch_size: 1",
        *(
            f'input [ {{ name: "{name}" data_type: {dtype} dims: [ {dims} ]{more} }} ]'
            for name, dtype, dims, more in inputs
        ),
        'output [ { name: "waveform" data_type: TYPE_FP32 dims: [ -1 ] } ]',
        # The parts run on the processor, and each instance is a process with a copy of them.
        f"instance_group [ {{ count: {settings.instances} kind: KIND_CPU }} ]",
        f"version_policy {{ specific {{ versions: [ {settings.version} ] }} }}",
        *(f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}' for key, value in parameters.items()),
    ]
    if settings.instances > 1:
        lines.append(
            f"sequence_batching {{ max_sequence_idle_microseconds: {IDLE_SECONDS * 1_000_000} "
            f"oldest {{ max_candidate_sequences: {STREAMS} }} }}"
        )
    return "\n".join(lines) + "\n"


def _mel(item: Deliverable) -> int | None:
    """Return the number of mel bins that an artifact of a front end states; None for any other artifact."""
    size = item.model.get("hyperparameters", {}).get("output_size")
    return size if isinstance(size, int) else None
