"""Seeded random inputs that resemble a model's inputs in production, drawn from the model's specification alone."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from cosybuild.models.shape_profile import BATCH, FRAMES
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.numerics.speech import filter_bank, speech_mel, whisper_mel

Array = np.ndarray[Any, np.dtype[Any]]

# The inputs that are zero in the unconditional row of a guidance pair (classifier-free guidance).
CONDITIONING = ("mu", "spks", "cond")

# Log-mel values of speech: natural logarithm of magnitudes, silence near -11.5, voiced peaks near 0.
MEL_MEAN = -6.0
MEL_STD = 2.0

QUIET = 0.03
"""Scale factor of quiet inputs. They reveal a wrong normalisation epsilon. Measured on the tiny model of CosyVoice 3,
with 1e-5 instead of 1e-6: the ratio to the reference is 129 dB on loud inputs and at most 88 dB on quiet ones, where
the correct graph has at least 119 dB on both.
"""

LARGEST_FLOAT16 = 65504.0

_LOUD = ("normal", "uniform", "mel")


class Time(str, Enum):
    """The values of an estimator's input `t` in a case: random, or all at one end of the solver's time axis."""

    any = "any"
    start = "start"
    end = "end"


@dataclass(frozen=True)
class Draw:
    """Sizes, seed and kind of one set of inputs, from which `draw_inputs` draws them.

    Each input of a specification names the generator (`TensorSpec.generator`) that draws its values.

    Attributes:
        sizes: symbol -> size.
        seed: seed of all random values. Each tensor has its own stream, so that adding an input changes none of the
            others.
        padded: True if the generator `mask` hides the end of every row, from a random frame on. If there are several
            rows and no guidance pairs, one row is not hidden.
        time: the values of the generator `time`: random, all at `TensorSpec.low`, or all at `TensorSpec.high`.
        guidance: True if the batch consists of guidance pairs, for a model that takes them.
        coarse: True if values are rounded to numbers that float16 and bfloat16 both represent exactly, so that
            artifacts of either type get the same inputs.
        quiet: True if the values of the generators `normal`, `uniform` and `mel` are scaled by `QUIET`. Then their
            variances are small too, and a wrong normalisation epsilon changes the outputs visibly.
        alike: True if every row of the batch equals the first, so that one computed row of the reference serves for
            all.
        given: the sha256 of the file with real inputs, which are read and not drawn; empty for drawn inputs.
    """

    sizes: Mapping[str, int]
    seed: int = 0
    padded: bool = False
    guidance: bool = False
    time: Time = Time.any
    coarse: bool = False
    quiet: bool = False
    alike: bool = False
    given: str = ""


def draw_inputs(spec: ModelSpec, draw: Draw) -> dict[str, Array]:
    """Draw one array for each input by name, with the order, shapes and types of the specification."""
    assert not draw.given, "real inputs are read and not drawn"
    arrays = {}
    for tensor in spec.inputs:
        rng = np.random.default_rng([draw.seed, zlib.crc32(tensor.name.encode())])
        values = GENERATORS[tensor.generator](rng, tensor.resolve(draw.sizes), tensor, draw)
        if draw.quiet and tensor.generator in _LOUD:
            values = values * np.float32(QUIET)
        if spec.guidance and draw.guidance:
            _pair_rows(tensor.name, values)
        if draw.coarse and tensor.dtype == "float32":
            values = _coarse(values)
        if draw.alike and values.ndim:
            values[:] = values[:1]
        # np.ascontiguousarray is not used, because it turns a scalar into an array of one axis.
        arrays[tensor.name] = np.asarray(values, numpy_dtype(tensor.dtype), order="C")
    return arrays


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return the numpy type for a type name of a specification. `bfloat16` comes from ml_dtypes."""
    if name == "bfloat16":
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(name)


def _coarse(values: Array) -> Array:
    """Round to the 8 significant bits of bfloat16, and then to float16, which changes only very small values further.

    Values beyond float16's range are not rounded to float16, because they would become infinite.
    """
    rounded: Array = values.astype(numpy_dtype("bfloat16")).astype(np.float32)
    with np.errstate(over="ignore"):
        half = rounded.astype(np.float16).astype(np.float32)
    return np.where(np.isfinite(half), half, rounded)


def _pair_rows(name: str, values: Array) -> None:
    """Turn the batch into guidance pairs, in place: its second half becomes the unconditional copy of the first."""
    half = values.shape[0] // 2
    values[half : 2 * half] = 0 if name in CONDITIONING else values[:half]


def _normal(rng: np.random.Generator, shape: tuple[int, ...], _: TensorSpec, __: Draw) -> Array:
    return np.asarray(rng.standard_normal(shape, np.float32))


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], tensor: TensorSpec, _: Draw) -> Array:
    return (tensor.low + (tensor.high - tensor.low) * rng.random(shape)).astype(np.float32)


def _mel(rng: np.random.Generator, shape: tuple[int, ...], _: TensorSpec, __: Draw) -> Array:
    """Draw a first-order autoregressive process along the last axis: mean -6, standard deviation 2, smooth in time."""
    memory = 0.9
    noise = rng.standard_normal(shape, np.float32)
    values = np.empty(shape, np.float32)
    state = noise[..., 0]
    for step in range(shape[-1]):
        values[..., step] = state
        if step + 1 < shape[-1]:
            state = memory * state + np.float32(np.sqrt(1 - memory**2)) * noise[..., step + 1]
    return MEL_MEAN + MEL_STD * values


def _speech(rng: np.random.Generator, shape: tuple[int, ...], _: TensorSpec, __: Draw) -> Array:
    """Draw log-mel spectrograms of speech, (..., frames, bands)."""
    return np.stack([speech_mel(rng, *shape[-2:]) for _ in range(int(np.prod(shape[:-2])))]).reshape(shape)


def _speech_frames(rng: np.random.Generator, shape: tuple[int, ...], tensor: TensorSpec, draw: Draw) -> Array:
    """Draw log-mel spectrograms of speech, (..., bands, frames)."""
    return np.swapaxes(_speech(rng, (*shape[:-2], shape[-1], shape[-2]), tensor, draw), -1, -2)


def _fbank(rng: np.random.Generator, shape: tuple[int, ...], tensor: TensorSpec, draw: Draw) -> Array:
    """Draw filter-bank features of speech, as speaker models take them, (..., frames, bands)."""
    return filter_bank(_speech(rng, shape, tensor, draw))


def _whisper(rng: np.random.Generator, shape: tuple[int, ...], tensor: TensorSpec, draw: Draw) -> Array:
    """Draw log-mel spectrograms of speech, as speech tokenizers take them, (..., bands, frames)."""
    return whisper_mel(_speech_frames(rng, shape, tensor, draw))


def _mask(rng: np.random.Generator, shape: tuple[int, ...], _: TensorSpec, draw: Draw) -> Array:
    """Return ones. If the case is padded, set each row to zero from a random position on.

    Of several rows, one that is chosen at random keeps its ones, unless the rows are guidance pairs.
    """
    values = np.ones(shape)
    rows, length = (shape[0] if len(shape) > 1 else 1), (shape[-1] if shape else 1)
    if not draw.padded or length < 2 or not rows:
        return values
    valid = rng.integers(1, length, rows)
    if rows > 1 and not draw.guidance:  # both rows of a guidance pair have the same length
        valid[rng.integers(rows)] = length
    hidden = np.arange(length) >= valid.reshape(rows, *[1] * (len(shape) - 1))
    values[np.broadcast_to(hidden, shape)] = 0
    return values


def _time(rng: np.random.Generator, shape: tuple[int, ...], tensor: TensorSpec, draw: Draw) -> Array:
    if draw.time is Time.any:
        return _uniform(rng, shape, tensor, draw)
    return np.full(shape, tensor.low if draw.time is Time.start else tensor.high, np.float32)


def _integer(rng: np.random.Generator, shape: tuple[int, ...], tensor: TensorSpec, _: Draw) -> Array:
    return rng.integers(int(tensor.low), int(tensor.high), shape)


def _length(_: np.random.Generator, shape: tuple[int, ...], __: TensorSpec, draw: Draw) -> Array:
    """Return the number of frames of the other inputs; without an axis of frames, the largest size except the batch."""
    sizes = [size for symbol, size in draw.sizes.items() if symbol != BATCH]
    return np.full(shape, draw.sizes.get(FRAMES, max(sizes, default=1)))


def _ones(_: np.random.Generator, shape: tuple[int, ...], __: TensorSpec, ___: Draw) -> Array:
    return np.ones(shape)


GENERATORS: dict[str, Callable[[np.random.Generator, tuple[int, ...], TensorSpec, Draw], Array]] = {
    "normal": _normal,
    "uniform": _uniform,
    "mel": _mel,
    "speech": _speech,
    "speech_frames": _speech_frames,
    "fbank": _fbank,
    "whisper": _whisper,
    "mask": _mask,
    "time": _time,
    "integer": _integer,
    "length": _length,
    "ones": _ones,
}
