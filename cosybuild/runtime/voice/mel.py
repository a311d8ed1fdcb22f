"""The log-mel spectrogram of a prompt, as the flow was trained with it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from cosybuild.errors import ServingError, ShapeRefused
from cosybuild.runtime.voice.arrays import Array
from cosybuild.runtime.voice.facts import Facts

WINDOW_HOPS = {"cosyvoice1": 4, "cosyvoice2": 4, "cosyvoice3": 4}
"""Version -> length of the window in hops: 1024 of 256 samples, and 1920 of 480."""

HIGHEST = {"cosyvoice1": 8000.0, "cosyvoice2": 8000.0, "cosyvoice3": None}
"""Version -> upper limit of the highest filter in Hz; None for half of the sampling rate."""

FLOOR = 1e-5
"""Smallest magnitude; its logarithm is that of silence."""

_POWER_FLOOR = 1e-9
# Slaney's scale (Auditory Toolbox, 1998): linear below 1 kHz with 200/3 Hz a mel, 27 mels to 6.4 kHz above it.
_LINEAR, _CORNER = 200.0 / 3.0, 1000.0
_STEP = np.log(6.4) / 27.0


def prompt_mel(samples: Array, facts: Facts) -> Array:
    """Return the log-mel spectrogram (1, M, mel) float32 of a prompt; M is the number of whole hops.

    Periodic Hann window of n_fft samples, reflection of (n_fft - hop) / 2 samples at both ends, no centring,
    sqrt(power + 1e-9), filters with Slaney's scale and area, natural logarithm of at least 1e-5.

    Args:
        samples: (n,) in [-1, 1], at `facts.sample_rate`, at least one window long.
        facts: the voice's facts.

    Raises:
        ServingError: the samples are not floating-point numbers, or not finite.
        ShapeRefused: there are several channels, or too few samples.
    """
    wave = np.asarray(samples)
    hop, n_fft = facts.hop, facts.hop * WINDOW_HOPS[facts.family]
    if wave.dtype.kind != "f":
        raise ServingError(f"the samples are {wave.dtype}; floating-point numbers in [-1, 1] are expected.")
    if wave.ndim != 1 or wave.size < n_fft:
        raise ShapeRefused(f"the samples have the shape {wave.shape}; one channel of {n_fft} or more is expected.")
    if not np.isfinite(wave).all():
        raise ServingError("the samples are not all finite.")
    edge = (n_fft - hop) // 2
    padded = np.pad(wave.astype(np.float64), edge, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    spectra = np.fft.rfft(frames * _hann(n_fft), axis=1)
    magnitudes = np.sqrt(spectra.real**2 + spectra.imag**2 + _POWER_FLOOR)
    filters = mel_filters(facts.sample_rate, n_fft, facts.mel, HIGHEST[facts.family])
    mel: Array = np.log(np.maximum(magnitudes @ filters.T, FLOOR)).astype(np.float32)
    return mel[np.newaxis]


@lru_cache(maxsize=4)
def mel_filters(sample_rate: int, n_fft: int, count: int, highest: float | None) -> Array:
    """Return triangular filters (count, n_fft / 2 + 1) from 0 Hz to `highest`, each with an area of one in Hz."""
    top = sample_rate / 2 if highest is None else highest
    corners = _hertz(np.linspace(0.0, _mels(top), count + 2))
    bins = np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1)
    low, centre, high = corners[:-2, np.newaxis], corners[1:-1, np.newaxis], corners[2:, np.newaxis]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    filters: Array = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (high - low))
    filters.flags.writeable = False
    return filters


def _mels(hertz: float) -> float:
    if hertz < _CORNER:
        return hertz / _LINEAR
    return float(_CORNER / _LINEAR + np.log(hertz / _CORNER) / _STEP)


def _hertz(mels: Array) -> Array:
    corner = _CORNER / _LINEAR
    above: Array = _CORNER * np.exp(_STEP * (mels - corner))
    return np.where(mels < corner, mels * _LINEAR, above)


def _hann(n_fft: int) -> Array:
    window: Array = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n_fft) / n_fft)
    return window
