"""Random log-mel spectrograms with the envelope of speech: syllables, pauses, formants, and unvoiced sounds."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

SILENCE = -11.5
"""Natural logarithm of the magnitude in silence: the floor of 1e-5 that the mel front ends clip at."""

_LOUDEST = 0.0
_SYLLABLE = 12
"""Mean frames of a syllable or a pause: a quarter of a second at 50 frames a second."""

_NOISE = 0.4
"""Standard deviation of a value around the envelope, as natural logarithm."""


def speech_mel(rng: np.random.Generator, frames: int, bands: int) -> Array:
    """Draw one spectrogram, (frames, bands), float32, between SILENCE and about 0.

    Segments of random length are voiced (three of five), unvoiced (one) or silent (one). A voiced one has three
    formants that glide, and a spectrum that falls towards the high bands; in an unvoiced one the high bands are the
    loudest. The loudness rises and falls within each segment.
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
    """Return the mean-free filter bank of a log-mel spectrogram, both (..., frames, bands), float32.

    Kaldi's filter bank is the natural logarithm of powers, twice that of magnitudes. Speaker models (3D-Speaker's
    CAM++ among them) take it without its mean over the frames, which also removes every constant factor.
    """
    powers = 2.0 * mel.astype(np.float64)
    result: Array = (powers - powers.mean(axis=-2, keepdims=True)).astype(np.float32)
    return result


def whisper_mel(mel: Array) -> Array:
    """Return a log-mel spectrogram scaled as Whisper's, both (..., bands, frames), float32.

    Whisper takes the decimal logarithm of powers of at least 1e-10, keeps the upper eight units of it, and maps it by
    (x + 4) / 4 (Radford and others, 2022, and its `log_mel_spectrogram`).
    """
    powers = np.maximum(2.0 / np.log(10.0) * mel.astype(np.float64), -10.0)
    powers = np.maximum(powers, powers.max(axis=(-2, -1), keepdims=True) - 8.0)
    result: Array = ((powers + 4.0) / 4.0).astype(np.float32)
    return result


def _voiced(rng: np.random.Generator, time: Array, position: Array) -> Array:
    """Return the spectrum of a voiced segment over time, relative to its level: (time, bands)."""
    spectrum: Array = np.tile(-2.0 - 6.0 * position, (len(time), 1))
    for low, high in ((0.05, 0.25), (0.25, 0.55), (0.55, 0.8)):
        begin, end = rng.uniform(low, high, 2)
        center = (begin + (end - begin) * time)[:, None]
        spectrum += 2.5 * np.exp(-(((position - center) / 0.06) ** 2))
    return spectrum
