"""Guess test values and sizes for tensors that the user did not declare, from their names, types and use."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.models.shape_profile import BATCH, FRAMES
from cosybuild.models.spec import ModelSpec, TensorSpec

_WORD = re.compile(r"[a-z]+")
_SAMPLE_RATE = 16000
_RATES = {"sr", "rate"}
_AUDIO = {"audio", "pcm", "samples", "signal", "speech", "wav", "wave", "waveform", "waveforms", "wavs"}
_AUDIO_SAMPLES = RangeSettings(4000, 8000, 16000)
"""The sizes for audio samples: a quarter of a second to one second at 16 kHz.

Much shorter waveforms fail in models that compute a spectrum, because reflection padding needs a whole window.
"""


@dataclass(frozen=True)
class Guess:
    """The generator and the range of an input's test values; the attributes are those of `TensorSpec`."""

    generator: str = "normal"
    low: float = 0.0
    high: float = 1.0
    is_index: bool = False


def guessed_values(name: str, dtype: str, table: int | None = None) -> Guess:
    """Guess the values that a tensor can have.

    Args:
        name: the name of the tensor.
        dtype: a name of `dtypes.DTYPES`.
        table: the number of rows of the smallest table that the tensor's values index; None if they index none.
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
    """Return the profile that is used if the user states none: one small range for each dynamic axis.

    Args:
        settings: the default profile.
        spec: the inputs of the model.
        declared: True if the user declared the inputs, False if an ONNX file declares them. A declared axis keeps
            its range in `settings`.
    """
    stated = settings.profiles[0]
    ranges = {s: stated[s] if declared and s in stated else _range(s, spec) for s in spec.symbols}
    return ProfileSettings(settings.name, (ranges,))


def is_default(settings: ProfileSettings) -> bool:
    """Return True if the settings equal the default profile, that of CosyVoice's runtime (`seq_len` 4/500/3000)."""
    return settings == ProfileSettings("default", ({FRAMES: RangeSettings(4, 500, 3000)},))


def _range(symbol: str, spec: ModelSpec) -> RangeSettings:
    if symbol == BATCH or any(tensor.shape[0] == symbol for tensor in spec.inputs if len(tensor.shape) > 1):
        return RangeSettings(1, 2, 4)
    if spec.axis(symbol).least == 0:
        return RangeSettings(0, 8, 16)
    if any(symbol in tensor.shape and _is_image(tensor) for tensor in spec.inputs):
        return RangeSettings(64, 128, 192, 32)
    if any(symbol == tensor.shape[-1] and _is_audio(tensor, symbol, spec) for tensor in spec.inputs if tensor.shape):
        return _AUDIO_SAMPLES
    return RangeSettings(16, 32, 64)


def _is_image(tensor: TensorSpec) -> bool:
    """Return True if the shape is (batch, channels, height, width) with dynamic height and width."""
    return len(tensor.shape) == len("NCHW") and all(isinstance(size, str) for size in tensor.shape[2:])


def _is_audio(tensor: TensorSpec, symbol: str, spec: ModelSpec) -> bool:
    """Return True if the last axis, `symbol`, probably has audio samples.

    The tensor must have a floating-point type, and it or the axis a name such as `audio` or `samples`. The names
    `input` and `x` also count if another input is a sampling rate.
    """
    if "float" not in tensor.dtype or any(isinstance(size, int) and size > 2 for size in tensor.shape):
        return False
    rated = any(_words(other.name) & _RATES for other in spec.inputs)
    return bool(_words(symbol) & _AUDIO or _words(tensor.name) & (_AUDIO | {"input", "x"} if rated else _AUDIO))
