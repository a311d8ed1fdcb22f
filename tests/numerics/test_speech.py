"""Generated spectrograms have features that white noise lacks: pauses, smooth changes, formants, unvoiced sounds."""

from __future__ import annotations

import numpy as np

from cosybuild.numerics.speech import SILENCE, filter_bank, speech_mel, whisper_mel


def test_values_are_between_silence_and_the_loudest() -> None:
    mel = speech_mel(np.random.default_rng(0), 2000, 80)
    assert mel.shape == (2000, 80)
    assert mel.dtype == np.float32
    assert mel.min() == np.float32(SILENCE)
    assert -3.0 < mel.max() < 4.0


def test_there_are_pauses_and_voiced_and_unvoiced_sounds() -> None:
    mel = speech_mel(np.random.default_rng(1), 2000, 80)
    loudness = mel.mean(axis=1)
    silent = loudness < SILENCE + 0.5
    tilt = mel[:, :27].mean(axis=1) - mel[:, 53:].mean(axis=1)
    for part in (silent, ~silent & (tilt > 1.0), ~silent & (tilt < -1.0)):
        assert 0.05 < part.mean() < 0.9


def test_neighbouring_frames_are_similar_as_in_speech() -> None:
    mel = speech_mel(np.random.default_rng(2), 2000, 80).mean(axis=1)
    centered = mel - mel.mean()
    assert float(centered[1:] @ centered[:-1]) / float(centered @ centered) > 0.8


def test_spectrograms_of_any_size_are_drawn() -> None:
    for frames, bands in ((0, 80), (1, 1), (3, 2)):
        assert speech_mel(np.random.default_rng(3), frames, bands).shape == (frames, bands)


def test_a_filter_bank_has_no_mean_and_twice_the_differences() -> None:
    mel = speech_mel(np.random.default_rng(4), 300, 80)
    bank = filter_bank(mel)
    assert bank.dtype == np.float32
    assert np.abs(bank.mean(axis=0)).max() < 1e-5
    assert np.allclose(np.diff(bank, axis=0), 2 * np.diff(mel, axis=0), atol=1e-4)


def test_the_tokenizers_scale_is_that_of_whisper() -> None:
    """Its formula on powers: decimal logarithm, at most 8 below the largest, plus 4, by 4."""
    mel = speech_mel(np.random.default_rng(5), 300, 128).T
    powers = np.exp(mel.astype(np.float64)) ** 2
    logs = np.log10(np.maximum(powers, 1e-10))
    expected = (np.maximum(logs, logs.max() - 8.0) + 4.0) / 4.0
    assert np.allclose(whisper_mel(mel), expected, atol=1e-6)
    assert np.ptp(whisper_mel(mel)) == np.float32(2.0), "eight decades, as a recording with a pause has"
