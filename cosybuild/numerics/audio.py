"""The metrics of waveforms (..., samples), of f0 (..., frames) and of phases. Importing this module registers them.

Amplitudes are relative to full scale, 1. Metrics that depend on the sampling rate assume 24 kHz; for another rate,
their frequency bands scale with it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cosybuild.numerics.metrics import Kind, metric

Array = np.ndarray[Any, np.dtype[Any]]

RATE = 24000.0
MELS = 80
FLOOR = 1e-5
"""Smallest magnitude of which a logarithm is taken, as in the mel front ends."""

RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))
"""(window length, hop) in samples, for each spectral distance of `multi_resolution`."""

LIMIT = 0.99
"""Amplitude at which vocoders clip."""

BLOCK = 480
"""Number of samples in a block, for which `silence` decides whether it is silent: 20 ms."""

SILENT = 1e-3
"""A block is silent if its root mean square is below this value, -60 dB."""

VOICED = 10.0
"""A frame is voiced if its f0 is above this value in Hz."""

_DB = 20 / math.log(10)


@metric("dB", of=Kind.waveform)
def log_mel_db(actual: Array, reference: Array) -> float:
    """Return the mean absolute difference of the log-mel spectrograms in dB, as in HiFi-GAN's loss (Kong, 2020).

    Windows have 1024 samples and a hop of 256; 80 triangular bands reach from 0 to half the sampling rate.
    """
    bands = _mel_bands(1024)
    a, r = (np.log(np.maximum(_magnitudes(x, 1024, 256) @ bands, FLOOR)) for x in (actual, reference))
    return float(_DB * np.mean(np.abs(a - r)))


@metric(of=Kind.waveform)
def multi_resolution(actual: Array, reference: Array) -> float:
    """Return the multi-resolution spectral distance, without unit (Yamamoto and others, 2020).

    It is the mean, over `RESOLUTIONS`, of the sum of two terms: the spectral convergence |R - A| / |R| with Frobenius
    norms, and the mean absolute difference of the natural logarithms of the magnitudes. Phases have no influence.
    """
    distances = []
    for size, hop in RESOLUTIONS:
        a, r = (np.maximum(_magnitudes(x, size, hop), FLOOR) for x in (actual, reference))
        distances.append(float(np.linalg.norm(r - a) / np.linalg.norm(r)) + float(np.mean(np.abs(np.log(a / r)))))
    return float(np.mean(distances))


@metric(of=Kind.waveform)
def clipped(actual: Array, reference: Array) -> float:
    """Return the share of samples that are clipped in the output only.

    These are samples above `LIMIT`, and samples at `LIMIT` where the reference is below 0.8 times `LIMIT`.
    """
    a, r = np.abs(actual), np.abs(reference)
    wrong = (a > 1.001 * LIMIT) | ((a >= LIMIT * (1 - 1e-6)) & (r < 0.8 * LIMIT))
    return float(np.mean(wrong)) if wrong.size else 0.0


@metric("output", of=Kind.waveform)
def dc(actual: Array, reference: Array) -> float:
    """Return the absolute difference of the mean values, in units of full scale."""
    return float(abs(np.mean(actual, dtype=np.float64) - np.mean(reference, dtype=np.float64))) if actual.size else 0.0


@metric("blocks", of=Kind.waveform)
def silence(actual: Array, reference: Array) -> float:
    """Return the number of blocks of 20 ms that are silent in one signal and clearly not silent in the other.

    A block is clearly not silent if its level is more than 6 dB above the threshold `SILENT`.
    """
    a, r = _levels(actual), _levels(reference)
    return float(np.count_nonzero((a < SILENT) & (r > 2 * SILENT)) + np.count_nonzero((r < SILENT) & (a > 2 * SILENT)))


@metric("cents", of=Kind.f0)
def f0_cents(actual: Array, reference: Array) -> float:
    """Return the largest 1200 |log2(a / r)| over the frames that are voiced in both signals, in cents."""
    a, r = np.asarray(actual, np.float64), np.asarray(reference, np.float64)
    both = (a > VOICED) & (r > VOICED)
    return float(np.max(1200 * np.abs(np.log2(a[both] / r[both])), initial=0.0))


@metric("frames", of=Kind.f0)
def voicing_flips(actual: Array, reference: Array) -> float:
    """Return the number of frames that are voiced in only one of the two signals.

    A frame near the threshold is not counted if its two f0 values differ by less than one cent (1/1200 octave), because
    nobody hears so small a difference.
    """
    a, r = np.asarray(actual, np.float64), np.asarray(reference, np.float64)
    near = np.abs(a - r) < VOICED * (2 ** (1 / 1200) - 1)
    return float(np.count_nonzero(((a > VOICED) != (r > VOICED)) & ~near))


@metric("cycles", of=Kind.phase)
def phase_cycles(actual: Array, reference: Array) -> float:
    """Return the largest distance between two phases, in cycles, 0 to 0.5."""
    error = np.asarray(actual, np.float64) - np.asarray(reference, np.float64)
    return float(np.max(np.abs(error - np.round(error)), initial=0.0))


def _magnitudes(signal: Array, size: int, hop: int) -> Array:
    """Return the magnitudes of short-time spectra, (..., windows, bins). A shorter signal is padded to one window."""
    wide = np.asarray(signal, np.float64)
    missing = max(0, size - wide.shape[-1])
    wide = np.pad(wide, [(0, 0)] * (wide.ndim - 1) + [(0, missing)])
    windows = np.lib.stride_tricks.sliding_window_view(wide, size, axis=-1)[..., ::hop, :]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    result: Array = np.abs(np.fft.rfft(windows * hann, axis=-1))
    return result


def _mel_bands(size: int) -> Array:
    """Return the weights of triangular mel bands, (bins, MELS).

    Their edges are equally spaced in 2595 log10(1 + f / 700).
    """
    top = 2595 * math.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, MELS + 2) / 2595) - 1)
    bins = np.linspace(0, RATE / 2, size // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    result: Array = np.maximum(0, np.minimum(rising, falling))
    return result


def _levels(signal: Array) -> Array:
    """Return the root mean square of each block, (..., blocks). A shorter rest at the end counts as a block."""
    wide = np.asarray(signal, np.float64)
    length = wide.shape[-1]
    padded = np.pad(wide**2, [(0, 0)] * (wide.ndim - 1) + [(0, -length % BLOCK)])
    blocks = padded.reshape(*wide.shape[:-1], -1, BLOCK)
    sizes = np.minimum(BLOCK, length - BLOCK * np.arange(blocks.shape[-2]))
    result: Array = np.sqrt(blocks.sum(-1) / sizes)
    return result
