"""Generated spectrograms have what white noise has not: pauses, smooth time, formants, bright unvoiced sounds."""

from __future__ import annotations

import numpy as np

from cosybuild.numerics.speech import SILENCE, speech_mel


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
