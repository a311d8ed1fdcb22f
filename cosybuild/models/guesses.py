"""Test values and sizes for tensors that nobody declared: by name, dtype and use."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cosybuild.config.groups.profile import ProfileSettings, RangeSettings
from cosybuild.models.profile import BATCH, FRAMES
from cosybuild.models.spec import ModelSpec, TensorSpec

_WORD = re.compile(r"[a-z]+")
_SAMPLE_RATE = 16000
_RATES = {"sr", "rate"}
_AUDIO = {"audio", "pcm", "samples", "signal", "speech", "wav", "wave", "waveform", "waveforms", "wavs"}
_AUDIO_SAMPLES = RangeSettings(4000, 8000, 16000)
"""A quarter of a second to one second: shorter than a window of a spectrum, a waveform is refused by its padding."""


@dataclass(frozen=True)
class Guess:
    """The generator and the range of an input's test values; `TensorSpec` describes `is_index`."""

    generator: str = "normal"
    low: float = 0.0
    high: float = 1.0
    is_index: bool = False


def guessed_values(name: str, dtype: str, table: int | None = None) -> Guess:
    """Return values that a tensor of this name and type can have.

    Args:
        table: rows of the smallest table whose indices the tensor contains; None if it indexes no table.
    """
    words = _words(name)
    if table is not None:
        return Guess("integer", 0, table, is_index=True)
    if dtype == "bool" or "mask" in words:
        return Guess("mask")
    if "float" in dtype:
        return Guess()
    if words & {"len", "lens", "length", "lengths"}:
        return Guess("length")
    if words & _RATES:
        return Guess("integer", _SAMPLE_RATE, _SAMPLE_RATE + 1)
    if dtype == "uint8":
        return Guess("integer", 0, 256)
    return Guess("integer", -128, 128) if dtype == "int8" else Guess("integer", 0, 2)


def _words(name: str) -> set[str]:
    return set(_WORD.findall(re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()))


def default_ranges(settings: ProfileSettings, spec: ModelSpec, declared: bool) -> ProfileSettings:
    """Return the profile of a model for which no profile was stated: one small range for each dynamic axis.

    Args:
        settings: the default profile; its range of `seq_len` serves a model that declares this axis.
        declared: True if the user declared an axis `seq_len`, and did not take it from a file.
    """
    stated = settings.profiles[0]
    ranges = {s: stated[s] if declared and s in stated else _range(s, spec) for s in spec.symbols}
    return ProfileSettings(settings.name, (ranges,))


def is_default(settings: ProfileSettings) -> bool:
    """Return True for the profile of CosyVoice's runtime that is set if no other is chosen."""
    return settings == ProfileSettings("default", ({FRAMES: RangeSettings(4, 500, 3000)},))


def _range(symbol: str, spec: ModelSpec) -> RangeSettings:
    if symbol == BATCH or any(tensor.shape[0] == symbol for tensor in spec.inputs if len(tensor.shape) > 1):
        return RangeSettings(1, 2, 4)
    if spec.axis(symbol).least == 0:
        return RangeSettings(0, 8, 16)
    if any(symbol in tensor.shape and _is_image(tensor) for tensor in spec.inputs):
        return RangeSettings(64, 128, 192, 32)
    if any(symbol == tensor.shape[-1] and _is_audio(tensor, spec) for tensor in spec.inputs if tensor.shape):
        return _AUDIO_SAMPLES
    return RangeSettings(16, 32, 64)


def _is_image(tensor: TensorSpec) -> bool:
    """Return True for (batch, channels, height, width) with dynamic height and width."""
    return len(tensor.shape) == len("NCHW") and all(isinstance(size, str) for size in tensor.shape[2:])


def _is_audio(tensor: TensorSpec, spec: ModelSpec) -> bool:
    """Return True for samples along the last axis: by the name, or by a sampling rate among the inputs."""
    if "float" not in tensor.dtype or any(isinstance(size, int) and size > 2 for size in tensor.shape):
        return False
    rated = any(_words(other.name) & _RATES for other in spec.inputs)
    return bool(_words(tensor.name) & (_AUDIO | {"input", "x"} if rated else _AUDIO))
