"""Calls of a vocoder's graph: a whole utterance in one call, or a stream in windows with carried state."""

from __future__ import annotations

import numpy as np

from cosybuild.runtime.voice.arrays import Array, Part
from cosybuild.runtime.voice.facts import Facts
from cosybuild.runtime.voice.inputs import finite
from cosybuild.runtime.voice.noise import Noise, SourceNoise


def vocode(vocoder: Part, facts: Facts, mel: Array, noise: Noise) -> Array:
    """Return the waveform (samples,) of a whole mel (1, bins, T)."""
    return VocoderStream(vocoder, facts, noise).push(mel, last=True)


class VocoderStream:
    """The waveform of a mel that arrives in pieces, equal to that of the whole mel except for rounding.

    Each call of the graph gets a window: the new frames, and the frames before and behind them on which their samples
    depend (`Facts.context`). The window's length, and so the time of a call, depends on the new frames only. The phases
    of the sines and the position in the noise are carried from call to call.

    Args:
        vocoder: the graph.
        facts: the voice's facts.
        noise: the draws of the utterance.
    """

    def __init__(self, vocoder: Part, facts: Facts, noise: Noise) -> None:
        self._vocoder = vocoder
        self._facts = facts
        self._noise = SourceNoise(noise, facts)
        self._phase = self._noise.phase
        # The kept frames begin with frame `_start` of the utterance; the frames before `_done` are vocoded.
        self._kept: Array | None = None
        self._start = self._done = 0

    def push(self, mel: Array, *, last: bool = False) -> Array:
        """Take the next frames (1, bins, T) and return all samples that they determine, (samples,).

        Args:
            mel: the next frames; T may be 0.
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
            # The given rows are those of the window: its first sample takes row 0.
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
