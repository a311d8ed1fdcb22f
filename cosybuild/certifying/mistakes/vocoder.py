"""Known mistakes in vocoders that other people implemented or exported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosybuild.certifying.mistakes.mistake import Mistake, Plant, inputs, parts, swap_class
from cosybuild.certifying.module_copies import sharing_copy
from cosybuild.models.cosyvoice.vocoder.f0_predictor import F0Predictor
from cosybuild.models.cosyvoice.vocoder.generator import Generator
from cosybuild.models.cosyvoice.vocoder.hift import Hift
from cosybuild.models.cosyvoice.vocoder.parameters import Interpolation
from cosybuild.models.cosyvoice.vocoder.source import Source
from cosybuild.models.cosyvoice.vocoder.spectrum import Analysis, Synthesis
from cosybuild.models.subject import Subject


class Untrimmed(Synthesis):
    """A synthesis with a mistake: the half windows at both ends are not cut off."""

    def forward(self, spectra: Tensor) -> Tensor:
        """Return a signal (B, 1, (F - 1) * hop + n_fft), with the half windows that the right synthesis cuts off."""
        signal = F.conv_transpose1d(spectra, self.kernel, stride=self.hop)
        envelope = F.conv_transpose1d(torch.ones_like(spectra[:1, :1]), self.envelope, stride=self.hop)
        return signal / envelope.clamp(min=1e-11)


class TrimmedAtEnd(Untrimmed):
    """A synthesis with a mistake: the samples of both half windows are cut off at the end."""

    def forward(self, spectra: Tensor) -> Tensor:
        """Return a signal of the right length that is delayed by half a window."""
        return super().forward(spectra)[:, :, : -self.n_fft]


class WithoutEnvelope(Synthesis):
    """A synthesis with a mistake: the sum of the windows is not divided by their envelope."""

    def forward(self, spectra: Tensor) -> Tensor:
        """Return the sum of the windowed frames, not divided by the envelope; shapes as in the base class."""
        return F.conv_transpose1d(spectra, self.kernel, stride=self.hop, padding=self.n_fft // 2)


class ZeroPadded(Analysis):
    """An analysis with a mistake: the signal is padded with zeros instead of by reflection."""

    def forward(self, signal: Tensor) -> Tensor:
        """Return the spectra of the signal padded with zeros; shapes as in the base class."""
        return F.conv1d(F.pad(signal, (self.n_fft // 2, self.n_fft // 2)), self.kernel, stride=self.hop)


class NarrowF0(F0Predictor):
    """An f0 predictor with a mistake: its result is rounded to float16."""

    def forward(self, mel: Tensor) -> Tensor:
        """Return f0 (B, 1, T) in Hz, rounded to float16 and converted to the mel's type."""
        return super().forward(mel).to(torch.float16).to(mel.dtype)


class LongerAtEnd(Hift):
    """A vocoder with a mistake: its last stage is padded at the end instead of at the beginning."""

    def longer(self, x: Tensor) -> Tensor:
        """Append a copy of the second last position to x (B, C, T)."""
        return torch.cat([x, x[:, :, -2:-1]], dim=2)


class LongerByZero(Hift):
    """A vocoder with a mistake: its last stage is padded with zeros instead of by reflection."""

    def longer(self, x: Tensor) -> Tensor:
        """Put zeros in front of the first position of x (B, C, T)."""
        return F.pad(x, (1, 0))


def vocoder_mistakes(subject: Subject) -> Iterator[Mistake]:
    """Yield the mistakes that a vocoder of this version can have."""
    for interpolation in Interpolation:
        yield Mistake(
            "interpolation of the phases", f"the phases of the source are interpolated as {interpolation.value}",
            "Version 1 computes the phase at every sample, version 2 interpolates linearly, and version 3 repeats it.",
            _interpolated(interpolation),
        )  # fmt: skip
    yield from _OF_ALL


def _interpolated(kind: Interpolation) -> Plant:
    def plant(module: nn.Module, *_: object) -> nn.Module:
        copy = sharing_copy(module)
        for name, part in copy.named_modules():
            if isinstance(part, Source):
                other = Source(replace(part.values, interpolation=kind)).to(part.ramp.device)
                other.l_linear = part.l_linear
                copy.get_submodule(name.rpartition(".")[0]).add_module(name.rpartition(".")[2], other)
        return copy.eval()

    return plant


def _slope(part: Generator) -> None:
    part.last_slope = 0.1


def _all_slopes(part: Generator) -> None:
    part.values = replace(part.values, lrelu_slope=0.01)


_OF_ALL = (
    Mistake("noise centred", "the noise is mapped from [0, 1) to [-1, 1)", "The draws are used as they are.",
            inputs(lambda given: {"noise": 2 * given["noise"] - 1})),
    Mistake("noise centred", "1/2 is subtracted from the noise", "The draws are used as they are.",
            inputs(lambda given: {"noise": given["noise"] - 0.5})),
    Mistake("noise left out", "the noise has no effect", "Every sample has noise, also in voiced frames.",
            inputs(lambda given: {"noise": torch.zeros_like(given["noise"])})),
    Mistake("synthesis not trimmed", "the waveform has half a window too much at both ends",
            "Half a window (8 samples) is cut at both ends, as torch.istft does.", swap_class(Synthesis, Untrimmed)),
    Mistake("synthesis trimmed at the end", "the waveform is late by half a window",
            "Half a window (8 samples) is cut at both ends, as torch.istft does.", swap_class(Synthesis, TrimmedAtEnd)),
    Mistake("envelope missing", "the sum of windows is not divided by the envelope of their squares",
            "torch.istft divides by the envelope.", swap_class(Synthesis, WithoutEnvelope)),
    Mistake("analysis padded with zeros", "the source is padded with zeros before its analysis",
            "torch.stft reflects the signal at both ends.", swap_class(Analysis, ZeroPadded)),
    Mistake("last slope", "the last leaky ReLU has the slope 0.1", "It has torch's default, 0.01.",
            parts(Generator, _slope)),
    Mistake("slopes", "the leaky ReLUs of the stages have the slope 0.01", "They have lrelu_slope of the yaml, 0.1.",
            parts(Generator, _all_slopes)),
    Mistake("reflection at the end", "the last stage is made longer at its end",
            "ReflectionPad1d((1, 0)) puts the second position in front of the first.", swap_class(Hift, LongerAtEnd)),
    Mistake("zero for the reflection", "the last stage is made longer by a zero",
            "ReflectionPad1d((1, 0)) puts the second position in front of the first.", swap_class(Hift, LongerByZero)),
    Mistake("f0 in float16", "f0 is rounded to float16", "The f0 predictor computes in float32 at least.",
            swap_class(F0Predictor, NarrowF0)),
)  # fmt: skip
