"""Calls of the vocoder: for a whole utterance in one call, or for a stream in windows with carried state."""

from __future__ import annotations

import numpy as np

from cosybuild.runtime.voice.arrays import Array, Part
from cosybuild.runtime.voice.facts import Facts
from cosybuild.runtime.voice.inputs import finite
from cosybuild.runtime.voice.noise import Noise, SourceNoise


def vocode(vocoder: Part, facts: Facts, mel: Array, noise: Noise) -> Array:
    """Return the waveform (samples,) of a whole mel (1, bins, T), computed in one call of the vocoder."""
    return VocoderStream(vocoder, facts, noise).push(mel, last=True)


class VocoderStream:
    """A vocoder for a mel that arrives in pieces.

    The joined samples equal the waveform of the whole mel, except for rounding. Each call of the vocoder gets a window
    of frames: the new frames, and the frames before and after them on which the samples of the new frames depend
    (`Facts.context`). So the time of a call depends on the number of new frames, not on the length of the stream. The
    phases of the sines and the position in the noise are carried from call to call.

    Args:
        vocoder: the vocoder.
        facts: the voice's facts.
        noise: the random numbers of the utterance.
    """

    def __init__(self, vocoder: Part, facts: Facts, noise: Noise) -> None:
        self._vocoder = vocoder
        self._facts = facts
        self._noise = SourceNoise(noise, facts)
        self._phase = self._noise.phase
        # `_kept` holds the frames from frame `_start` of the utterance on. The samples of the frames before `_done`
        # were returned.
        self._kept: Array | None = None
        self._start = self._done = 0

    def push(self, mel: Array, *, last: bool = False) -> Array:
        """Take the next mel frames and return all samples that can now be computed, (samples,) float32.

        Args:
            mel: the next frames, (1, bins, T); T may be 0.
            last: True if no frames follow.

        Raises:
            ServingError: the samples are not finite.
        """
        kept = mel if self._kept is None else np.concatenate((self._kept, mel), axis=2)
        before, behind = self._facts.context
        frames = self._start + kept.shape[2]
        end = frames if last else max(self._done, frames - behind)
        if end == self._done:
            self._kept = kept
            return np.zeros(0, np.float32)
        first, hop = self._done - self._start, self._facts.hop
        results = self._vocoder(
            mel=kept,
            noise=self._noise.rows(self._start * hop, frames * hop),
            # The rows of `noise` begin at the window's first sample, so the offset counts from there.
            noise_offset=np.array([first * hop], np.int64),
            phase=self._phase,
            first=np.array([first], np.int64),
            end=np.array([end - self._start], np.int64),
        )
        samples = finite("the waveform", results["waveform"][0, first * hop : (end - self._start) * hop])
        self._phase, self._done = results["next_phase"], end
        start = max(self._start, end - before)
        self._kept, self._start = kept[:, :, start - self._start :], start
        return samples
