from __future__ import annotations

import math

import numpy as np
import pytest

from cosybuild.numerics.audio import BLOCK, LIMIT
from cosybuild.numerics.gates import OF_KIND, misses
from cosybuild.numerics.metrics import Kind, measure

RATE = 24000
TIME = np.arange(RATE) / RATE


def tone(hz: float, level: float = 0.3) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * TIME)


def heard(actual: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    return measure(actual, reference, Kind.waveform)


def test_only_waveforms_have_the_metrics_of_waveforms() -> None:
    sound = tone(200)
    assert set(measure(sound, sound)) < set(heard(sound, sound))
    assert "f0_cents" not in heard(sound, sound)
    assert misses(measure(sound, sound), OF_KIND[Kind.waveform]) == []


@pytest.mark.parametrize("shape", [(RATE,), (1, RATE), (2, 1, RATE // 2)])
def test_equal_waveforms_have_no_difference(shape: tuple[int, ...]) -> None:
    sound = (tone(200) + tone(3100, 0.1)).reshape(shape)
    found = heard(sound, sound)
    assert {found[name] for name in ("log_mel_db", "multi_resolution", "clipped", "dc", "silence")} == {0}


@pytest.mark.parametrize("length", [0, 1, 17, 700])
def test_short_waveforms_can_be_measured(length: int) -> None:
    found = heard(np.full(length, 0.5), np.full(length, 0.25))
    assert all(not math.isnan(value) for value in found.values())


def test_half_the_level_is_six_decibels_where_there_is_sound() -> None:
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal(RATE)
    found = heard(noise / 2, noise)
    assert found["log_mel_db"] == pytest.approx(20 * math.log10(2), rel=1e-3)
    assert found["multi_resolution"] == pytest.approx(0.5 + math.log(2), rel=1e-3)


def test_spectral_distances_ignore_phases_and_detect_another_frequency() -> None:
    """The ratio of a waveform drops for both; only the spectral distances distinguish them."""
    rng = np.random.default_rng(1)
    floor = 1e-3 * rng.standard_normal(RATE)
    turned, other = 0.3 * np.cos(2 * np.pi * 200 * TIME), tone(260)
    phase, pitch = heard(turned + floor, tone(200) + floor), heard(other + floor, tone(200) + floor)
    assert phase["snr_db"] < 1 > pitch["snr_db"]
    assert phase["log_mel_db"] < pitch["log_mel_db"] / 3
    assert phase["multi_resolution"] < pitch["multi_resolution"] / 3


def test_samples_at_the_limit_and_beyond_it_are_counted() -> None:
    sound = tone(200)
    clipped = np.clip(5 * sound, -LIMIT, LIMIT)
    share = float(np.mean(np.abs(5 * sound) >= LIMIT))
    assert heard(clipped, sound)["clipped"] == pytest.approx(share)
    assert share > 0.1
    assert heard(sound, clipped)["clipped"] == 0
    assert heard(5 * sound, clipped)["clipped"] > 0.1, "not clipped, where it should be"


def test_a_shift_of_the_mean_is_measured() -> None:
    assert heard(tone(200) + 0.01, tone(200))["dc"] == pytest.approx(0.01)


def test_lost_and_added_sound_is_counted_in_blocks() -> None:
    sound = tone(200)
    gap = sound.copy()
    gap[10 * BLOCK : 15 * BLOCK] = 0
    assert heard(gap, sound)["silence"] == 5
    assert heard(sound, gap)["silence"] == 5
    assert heard(sound[:-100], gap[:-100])["silence"] == 5


def test_f0_errors_are_measured_in_cents_and_voicing_flips() -> None:
    reference = np.array([0.0, 5.0, 100.0, 200.0, 300.0])
    actual = np.array([0.0, 20.0, 100.0, 200 * 2 ** (1 / 1200), 3.0])
    found = measure(actual, reference, Kind.f0)
    assert found["f0_cents"] == pytest.approx(1)
    assert found["voicing_flips"] == 2
    barely = measure(np.array([10.0001, 150]), np.array([9.9999, 150]), Kind.f0)
    assert (barely["f0_cents"], barely["voicing_flips"]) == (0, 0)
