"""The phases over a minute: float32 sums that do not drift."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from cosybuild.models.cosyvoice.vocoder.phase import advances, phases, running_sums
from tests.models.cosyvoice.vocoder.vocoders import published

pytestmark = pytest.mark.arithmetic

FRAMES = 3000
HARMONICS = 9
VOICES = {
    "gliding": 220 + 60 * np.sin(np.arange(FRAMES) / 40) + np.linspace(0, 30, FRAMES),
    "constant": np.full(FRAMES, 219.977),
    "high": 380 + 15 * np.cos(np.arange(FRAMES) / 7),
}


def exact_phases(f0: np.ndarray, frame_hz: Fraction) -> np.ndarray:
    """Return phases in cycles at the borders, (harmonics, frames + 1), computed with rational numbers."""
    total, result = Fraction(0), []
    for value in [*f0.astype(np.float32).tolist(), 0.0]:
        result.append([float((multiple * total) % 1) for multiple in range(1, HARMONICS + 1)])
        total += Fraction(value) / frame_hz
    return np.array(result).T


def largest_error(found: Tensor | np.ndarray, exact: np.ndarray) -> float:
    """Return the largest error in radians."""
    error = np.asarray(found, np.float64) - exact
    return float(2 * np.pi * np.abs(error - np.round(error)).max())


def found_phases(f0: np.ndarray, seconds: float, dtype: torch.dtype) -> Tensor:
    sums = running_sums(
        advances(torch.from_numpy(f0.astype(np.float32)).to(dtype).reshape(1, 1, -1), seconds, HARMONICS)
    )
    return phases(sums, torch.zeros(1, HARMONICS, dtype=dtype), torch.tensor([0]))[0]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("voice", VOICES)
def test_the_phase_does_not_drift_in_a_minute(version: int, voice: str) -> None:
    own, f0 = published(version), VOICES[voice]
    exact = exact_phases(f0, Fraction(own.sampling_rate, own.samples_per_frame))
    seconds = own.samples_per_frame / own.sampling_rate
    drift = largest_error(found_phases(f0, seconds, torch.float32), exact)
    multiples = np.arange(1, HARMONICS + 1, dtype=np.float32)[:, None]
    steps = multiples * f0.astype(np.float32) * np.float32(seconds)
    # Sums that runtimes compute one summand after the other.
    plain = np.cumsum(np.concatenate([np.zeros((HARMONICS, 1), np.float32), steps], axis=1), axis=1, dtype=np.float32)
    assert drift < 1e-3 < largest_error(plain, exact)
    assert drift < largest_error(plain, exact) / 100
    assert largest_error(found_phases(f0, seconds, torch.float64), exact) < 1e-8


def test_the_sums_are_the_same_in_any_order() -> None:
    """A runtime may add in another order. The first two parts are exact, and the third is small."""
    f0 = torch.from_numpy(VOICES["high"].astype(np.float32)).reshape(1, 1, -1)
    parts = advances(f0, 0.02, HARMONICS)
    for part, wide in zip(running_sums(parts)[:2], running_sums(tuple(p.double() for p in parts)), strict=False):
        assert torch.equal(part.double(), wide)
    first, second, third = parts
    assert first.min() >= 0
    assert first.max() <= 1
    assert 0 <= second.min() <= second.max() < 2**-9
    assert 0 <= third.min() <= third.max() < 2**-20


def test_a_state_in_the_middle_gives_the_phases_of_both_sides() -> None:
    f0 = torch.from_numpy(VOICES["gliding"]).reshape(1, 1, -1)
    sums = running_sums(advances(f0, 0.02, HARMONICS))
    whole = phases(sums, torch.zeros(1, HARMONICS, dtype=torch.float64), torch.tensor([0]))
    again = phases(sums, whole[:, :, 1234], torch.tensor([1234]))
    assert largest_error(again[0], whole[0].numpy()) < 1e-9
