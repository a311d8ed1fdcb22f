"""The log-mel spectrogram of a prompt, computed as in the training of the flow model."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from cosybuild.errors import ServingError, ShapeRefused
from cosybuild.runtime.voice.arrays import Array
from cosybuild.runtime.voice.facts import Facts, MelForm

FLOOR = 1e-5
"""Smallest magnitude before the logarithm. Silence has this value."""

_POWER_FLOOR = 1e-9
# Slaney's scale (Auditory Toolbox, 1998): linear below 1 kHz with 200/3 Hz a mel, 27 mels to 6.4 kHz above it.
_LINEAR, _CORNER = 200.0 / 3.0, 1000.0
_STEP = np.log(6.4) / 27.0


def prompt_mel(samples: Array, facts: Facts) -> Array:
    """Return the log-mel spectrogram of a prompt, (1, M, bins) float32. M is the number of whole frames.

    The transform: reflection padding of (n_fft - hop) / 2 samples at both ends, periodic Hann window, no centring,
    sqrt(power + 1e-9), filters on Slaney's mel scale with an area of 1, natural logarithm of max(value, 1e-5).

    Args:
        samples: (n,) in [-1, 1], at `facts.prompt_mel.sample_rate`, at least one window long.
        facts: the voice's facts.

    Raises:
        ServingError: the manifest does not state the transform, or the samples are not finite floating-point numbers.
        ShapeRefused: there are several channels, or too few samples.
    """
    form, wave = facts.prompt_mel, np.asarray(samples)
    if form is None:
        raise ServingError(
            "the manifest of the front end does not state how the prompt's mel is computed (prompt_mel).",
            hint="Next: deploy it again, or compute the mel as the model's own feat_extractor does.",
        )
    if wave.dtype.kind != "f":
        raise ServingError(f"the samples are {wave.dtype}; floating-point numbers in [-1, 1] are expected.")
    if wave.ndim != 1 or wave.size < form.n_fft:
        raise ShapeRefused(f"the samples have the shape {wave.shape}; one channel of {form.n_fft} or more is expected.")
    if not np.isfinite(wave).all():
        raise ServingError("the samples are not all finite.")
    padded = np.pad(wave.astype(np.float64), (form.n_fft - form.hop) // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, form.n_fft)[:: form.hop]
    spectra = np.fft.rfft(frames * _hann(form.n_fft), axis=1)
    magnitudes = np.sqrt(spectra.real**2 + spectra.imag**2 + _POWER_FLOOR)
    mel: Array = np.log(np.maximum(magnitudes @ mel_filters(form).T, FLOOR)).astype(np.float32)
    return mel[np.newaxis]


@lru_cache(maxsize=4)
def mel_filters(form: MelForm) -> Array:
    """Return the triangular mel filters, (bins, n_fft / 2 + 1), read-only. The area of each filter over Hz is 1."""
    corners = _hertz(np.linspace(_mels(form.lowest), _mels(form.highest), form.bins + 2))
    bins = np.linspace(0.0, form.sample_rate / 2, form.n_fft // 2 + 1)
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
