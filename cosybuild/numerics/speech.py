"""Random log-mel spectrograms that resemble speech: syllables, pauses, formants and unvoiced sounds."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

SILENCE = -11.5
"""Natural logarithm of the magnitude in silence. The mel front ends clip magnitudes at 1e-5."""

_LOUDEST = 0.0
_SYLLABLE = 12
"""Mean length of a syllable or a pause in frames: a quarter of a second at 50 frames per second."""

_NOISE = 0.4
"""Standard deviation of the values around the spectral envelope, as natural logarithm."""


def speech_mel(rng: np.random.Generator, frames: int, bands: int) -> Array:
    """Draw one log-mel spectrogram, (frames, bands) float32, with values from SILENCE to about 0.

    It consists of segments of random length. Each is voiced (probability 3/5), unvoiced (1/5) or silent (1/5). A voiced
    segment has three formants that glide, and a spectrum that falls towards the high bands. In an unvoiced segment the
    high bands are the loudest. The loudness rises and falls within each segment.
    """
    values = np.full((frames, bands), SILENCE)
    position = np.linspace(0.0, 1.0, bands)
    start = 0
    while start < frames:
        length = min(frames - start, int(rng.integers(_SYLLABLE // 2, 2 * _SYLLABLE)))
        kind = int(rng.integers(5))
        time = (np.arange(length) + 0.5) / length
        level = _LOUDEST - 3.0 * rng.random() - 3.0 * (2.0 * time - 1.0) ** 2
        if kind < 3:
            values[start : start + length] = level[:, None] + _voiced(rng, time, position)
        elif kind == 3:
            values[start : start + length] = level[:, None] - 7.0 * (1.0 - position)
        start += length
    values += _NOISE * rng.standard_normal(values.shape)
    result: Array = np.maximum(values, SILENCE).astype(np.float32)
    return result


def filter_bank(mel: Array) -> Array:
    """Convert log-mel magnitudes to the mean-free filter bank of speaker models, both (..., frames, bands), float32.

    Kaldi's filter bank is the natural logarithm of powers, which is twice that of magnitudes. Speaker models, such as
    3D-Speaker's CAM++, take it minus its mean over the frames. The subtraction also removes every constant factor.
    """
    powers = 2.0 * mel.astype(np.float64)
    result: Array = (powers - powers.mean(axis=-2, keepdims=True)).astype(np.float32)
    return result


def whisper_mel(mel: Array) -> Array:
    """Convert log-mel magnitudes to the scale of Whisper's input, both (..., bands, frames), float32.

    Whisper takes the decimal logarithm of powers of at least 1e-10, clips it at 8 below its maximum, and maps it by (x
    + 4) / 4 (Radford and others, 2022, and its `log_mel_spectrogram`).
    """
    powers = np.maximum(2.0 / np.log(10.0) * mel.astype(np.float64), -10.0)
    powers = np.maximum(powers, powers.max(axis=(-2, -1), keepdims=True) - 8.0)
    result: Array = ((powers + 4.0) / 4.0).astype(np.float32)
    return result


def _voiced(rng: np.random.Generator, time: Array, position: Array) -> Array:
    """Return the spectrum of a voiced segment, relative to the segment's level, (frames, bands)."""
    spectrum: Array = np.tile(-2.0 - 6.0 * position, (len(time), 1))
    for low, high in ((0.05, 0.25), (0.25, 0.55), (0.55, 0.8)):
        begin, end = rng.uniform(low, high, 2)
        center = (begin + (end - begin) * time)[:, None]
        spectrum += 2.5 * np.exp(-(((position - center) / 0.06) ** 2))
    return spectrum
