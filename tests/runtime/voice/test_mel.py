"""The prompt's mel against PyTorch's transform and a plain form of the filters."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from cosybuild.errors import ServingError, ShapeRefused
from cosybuild.numerics.metrics import snr_db
from cosybuild.runtime.voice import prompt_mel
from cosybuild.runtime.voice.facts import MelForm
from cosybuild.runtime.voice.mel import mel_filters
from tests.runtime.voice.voices import module_voice

PUBLISHED = {1: (22050, 1024, 256, 8000.0), 2: (24000, 1920, 480, 8000.0), 3: (24000, 1920, 480, 12000.0)}


def slaney(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * float(np.log(hertz / 1000) / np.log(6.4))


def plain_filters(rate: int, n_fft: int, highest: float) -> np.ndarray:
    """Return triangles between points that are evenly spaced in mels, found by bisection, of area one each."""
    points = []
    for target in np.linspace(0, slaney(highest), 82):
        low, high = 0.0, highest
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if slaney(middle) < target else (low, middle)
        points.append(high)
    bins = np.arange(n_fft // 2 + 1) * rate / n_fft
    rows = [np.interp(bins, points[i : i + 3], [0, 1, 0]) * 2 / (points[i + 2] - points[i]) for i in range(80)]
    return np.stack(rows)


@pytest.mark.parametrize("version", PUBLISHED)
def test_the_mel_is_pytorchs_in_float64(version: int) -> None:
    rate, n_fft, hop, highest = PUBLISHED[version]
    random = np.random.default_rng(0)
    loud = random.normal(0, 0.1, rate // 2) * np.where(np.arange(rate // 2) < rate // 4, 1.0, 1e-7)
    padded = torch.nn.functional.pad(torch.from_numpy(loud)[None, None], ((n_fft - hop) // 2,) * 2, mode="reflect")
    window = torch.hann_window(n_fft, dtype=torch.float64)
    spectra = torch.stft(padded[0], n_fft, hop, n_fft, window, center=False, return_complex=True)
    magnitudes = torch.sqrt(torch.view_as_real(spectra).pow(2).sum(-1) + 1e-9)[0].numpy()
    expected = np.log(np.maximum(plain_filters(rate, n_fft, highest) @ magnitudes, 1e-5)).T[np.newaxis]
    facts = module_voice(version).facts
    actual = prompt_mel(loud, facts)
    assert actual.dtype == np.float32
    assert actual.shape == expected.shape == (1, len(loud) // hop, 80)
    assert snr_db(actual, expected) > 145  # the result is rounded to float32 once


def test_a_filter_has_an_area_of_one_and_other_limits_move_it() -> None:
    form = MelForm(24000, 1920, 480, 80, 0.0, 12000.0)
    filters = mel_filters(form)
    assert filters.sum(axis=1)[20:] * 12.5 == pytest.approx(1, abs=0.02)
    assert not np.allclose(filters, mel_filters(dataclasses.replace(form, highest=8000.0)))


def test_other_samples_are_refused() -> None:
    facts = module_voice(2).facts
    with pytest.raises(ServingError, match="the samples are int16; floating-point numbers"):
        prompt_mel(np.zeros(5000, np.int16), facts)
    with pytest.raises(ShapeRefused, match=r"\(2, 5000\); one channel of 1920 or more"):
        prompt_mel(np.zeros((2, 5000)), facts)
    with pytest.raises(ServingError, match="not all finite"):
        prompt_mel(np.full(5000, np.nan), facts)
    with pytest.raises(ServingError, match="does not state how the prompt's mel is computed"):
        prompt_mel(np.zeros(5000), dataclasses.replace(facts, prompt_mel=None))
