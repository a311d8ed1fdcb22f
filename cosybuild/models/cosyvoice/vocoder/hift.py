"""The whole vocoder: f0 predictor, source, generator and synthesis in one module, with the state of a stream."""

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
    """The vocoder of any CosyVoice version. Its state dict has CosyVoice's names and folded weights.

    One module serves whole utterances and streams. A stream calls it with a window of mel frames: some earlier frames,
    the new frames, and some frames of look-ahead. The results of the frames from `first` up to, but not including,
    `end` are then equal to those of the whole utterance. The call returns the inputs `phase` and `noise_offset` of the
    next call.

    Args:
        parameters: the vocoder's hyper-parameters.
        cut: the setting `vocoder.cut`. `Cut.none` returns a waveform, other values return magnitude and phase.
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
            The waveform (1, samples) within `audio_limit`, or with a cut the magnitude and the phase of `spectra`; then
            f0 (1, T) in Hz; then the phase and the noise offset of frame `end`.
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
        """Return the magnitude and the phase of the waveform's spectra, each (B, bins, spectra).

        Args:
            mel: (B, in_channels, T).
            source: the source signal, (B, 1, samples).
        """
        return self.generate(mel, self.analysis(source))


def with_wide_f0(vocoder: Hift) -> Hift:
    """Change the vocoder in place to compute f0 in float64, also in exported graphs, and return it."""
    if isinstance(vocoder.f0_predictor, F0Predictor):
        vocoder.f0_predictor = WideF0Predictor(vocoder.f0_predictor)
    return vocoder
