"""The whole vocoder: f0, source, generator and synthesis in one module, with the state of a stream."""

from __future__ import annotations

import torch
from torch import Tensor

from cosybuild.config.groups.vocoder import Cut
from cosybuild.models.cosyvoice.vocoder.f0_predictor import F0Predictor, WideF0Predictor
from cosybuild.models.cosyvoice.vocoder.generator import Generator
from cosybuild.models.cosyvoice.vocoder.parameters import VocoderParameters
from cosybuild.models.cosyvoice.vocoder.source import Source
from cosybuild.models.cosyvoice.vocoder.spectrum import Analysis, Synthesis


class Hift(Generator):
    """The vocoder of any version. Its state dict has upstream's names, with the weight norm folded into the weights.

    One module serves a whole utterance and a stream. A stream calls it with a window of mel frames: some earlier
    frames, the new frames, and some frames of look-ahead. The results of frames `first` to `end` are then those of
    the whole utterance. `phase` and `offset` of the next call are the state that this call returns.
    """

    f0_predictor: F0Predictor | WideF0Predictor

    def __init__(self, parameters: VocoderParameters, cut: Cut = Cut.none) -> None:
        super().__init__(parameters)
        self.cut = cut
        self.m_source = Source(parameters)
        self.f0_predictor = F0Predictor(parameters)
        self.analysis = Analysis(parameters.n_fft, parameters.hop_len)
        self.synthesis = Synthesis(parameters.n_fft, parameters.hop_len)

    def forward(
        self, mel: Tensor, noise: Tensor, noise_offset: Tensor, phase: Tensor, first: Tensor, end: Tensor
    ) -> tuple[Tensor, ...]:
        """Compute the waveform of all frames of a window.

        Args:
            mel: (1, in_channels, T), natural logarithms of magnitudes.
            noise, noise_offset, phase, first, end: see `Source`.

        Returns:
            The waveform (1, samples) within `audio_limit`; f0 (1, T) in Hz; phase and noise offset of frame `end`.
        """
        f0 = self.f0_predictor(mel)
        source, after, offset = self.m_source(f0, noise, noise_offset, phase, first, end)
        results = (self.decode(mel, source),) if self.cut is Cut.none else self.spectra(mel, source)
        return (*results, f0.squeeze(1), after, offset)

    def decode(self, mel: Tensor, source: Tensor) -> Tensor:
        """Return the waveform (B, samples) of a mel (B, in_channels, T) and a source signal (B, 1, samples)."""
        magnitude, phase = self.spectra(mel, source)
        waveform: Tensor = self.synthesis(
            torch.cat([magnitude * torch.cos(phase), magnitude * torch.sin(phase)], dim=1)
        )
        limit = self.values.audio_limit
        return waveform.squeeze(1).clamp(-limit, limit)

    def spectra(self, mel: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return magnitude and phase, each (B, bins, spectra), of the waveform before its synthesis."""
        return self.generate(mel, self.analysis(source))


def with_wide_f0(vocoder: Hift) -> Hift:
    """Change the vocoder in place, so that it and graphs exported from it compute f0 in float64."""
    if isinstance(vocoder.f0_predictor, F0Predictor):
        vocoder.f0_predictor = WideF0Predictor(vocoder.f0_predictor)
    return vocoder
