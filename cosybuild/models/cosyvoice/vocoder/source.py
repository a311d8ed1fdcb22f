"""The vocoder's source signal: sines at multiples of f0, noise, and a layer that mixes them (Wang et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cosybuild.models.cosyvoice.vocoder.parameters import Interpolation, VocoderParameters
from cosybuild.models.cosyvoice.vocoder.phase import advances, fraction, phases, running_sums

TURN = 6.283185307179586
"""Radians of one cycle."""


class Source(nn.Module):
    """The harmonic-plus-noise source of a vocoder.

    The source draws no random numbers itself; they are an input. The state of a stream is an input and an output:

    - `phase` (B, harmonics), in cycles: the phase of each sine at the beginning of frame `first`. A stream begins with
      the phase 0. In version 1, it begins with 0 for the fundamental and random phases, uniform in [-1/2, 1/2), for the
      overtones.
    - `offset` (1,): the row of the table `noise` for the first sample of frame `first`.

    The table `noise` (B, N, harmonics) has random numbers: Gaussian in versions 1 and 2, uniform in [0, 1) in version
    3. Sample n of frame `first` uses row (`offset` + n) modulo N.
    """

    ramp: Tensor

    def __init__(self, parameters: VocoderParameters) -> None:
        super().__init__()
        self.values = parameters
        self.l_linear = nn.Linear(parameters.harmonics, 1)
        self.register_buffer("ramp", _ramp(parameters), persistent=False)

    def forward(
        self, f0: Tensor, noise: Tensor, offset: Tensor, phase: Tensor, first: Tensor, end: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the source of all frames.

        Args:
            f0: (B, 1, T), in Hz.
            noise, offset, phase: see the class; `offset` is int64.
            first: (1,) int64: the index of the frame to which `offset` and `phase` belong.
            end: (1,) int64, at most T: the index of the frame at which the next call's `first` is.

        Returns:
            The signal (B, 1, samples), and the phase and the offset of frame `end`, for the next call.
        """
        own = self.values
        batch, _, frames = f0.shape
        samples = own.samples_per_frame
        sums = running_sums(advances(f0, samples / own.sampling_rate, own.harmonics))
        borders = phases(sums, phase, first)
        weight = self.l_linear.weight  # (1, harmonics)
        # The voicing and the amplitudes are the same for all harmonics, and the mixing layer is linear. So the layer is
        # applied to the sines and to the noise separately, and the amplitudes multiply its two small results instead of
        # all harmonics.
        sines = self._sines(f0, borders)
        tones = torch.matmul(weight * own.nsf_alpha, sines.flatten(2)).reshape(batch, frames, -1)
        rows = self._rows(frames * samples, offset - first * samples, noise.shape[1], f0)
        drawn = torch.matmul(noise.index_select(1, rows), weight.transpose(0, 1)).reshape(batch, frames, samples)
        voiced = (f0 > own.nsf_voiced_threshold).to(f0.dtype).transpose(1, 2)
        loudness = voiced * own.nsf_sigma + (1 - voiced) * (own.nsf_alpha / 3)
        mixed = torch.tanh(tones * voiced + drawn * loudness + self.l_linear.bias)
        after = borders.index_select(2, end).squeeze(2)
        return mixed.reshape(batch, 1, -1), after, offset + (end - first) * samples

    def _rows(self, count: int, begin: Tensor, size: int, like: Tensor) -> Tensor:
        """Return the row numbers begin, begin + 1, ..., begin + count - 1, modulo the table's `size`."""
        rows = torch.arange(count, device=like.device) + begin
        rows = rows - torch.div(rows, size, rounding_mode="trunc") * size
        # The division rounds towards zero, and the rows of frames before `first` can be negative.
        return torch.where(rows < 0, rows + size, rows)

    def _sines(self, f0: Tensor, borders: Tensor) -> Tensor:
        """Return the sines, (B, harmonics, T, samples of a frame).

        In version 3, a sine is constant within a frame, and the last axis has the size 1.

        Args:
            f0: (B, 1, T), in Hz.
            borders: phases in cycles (B, harmonics, T + 1).
        """
        own = self.values
        if own.interpolation is Interpolation.nearest:
            return torch.sin(borders[:, :, 1:] * TURN).unsqueeze(3)
        multiples = torch.arange(1, own.harmonics + 1, dtype=f0.dtype, device=f0.device).reshape(1, -1, 1)
        advance = fraction(f0 * multiples / own.sampling_rate) * own.samples_per_frame
        if own.interpolation is Interpolation.exact:
            cycles = borders[:, :, :-1].unsqueeze(3) + advance.unsqueeze(3) * self.ramp
        else:
            cycles = borders[:, :, 1:].unsqueeze(3) + self._from_centre(advance)
        return torch.sin(fraction(cycles) * TURN)

    def _from_centre(self, advance: Tensor) -> Tensor:
        """Return the phase of each sample relative to the centre of its frame, (B, harmonics, T, samples of a frame).

        The unit is cycles. As in CosyVoice 2, the phase at the end of a frame is used at the frame's centre, and phases
        are interpolated linearly between the centres of neighbouring frames. Before the first centre and after the last
        one, the phase is constant.

        Args:
            advance: the cycles by which the phase grows in each frame, (B, harmonics, T).
        """
        nothing = torch.zeros_like(advance[:, :, :1])
        own = torch.cat([nothing, advance[:, :, 1:]], dim=2).unsqueeze(3)
        following = torch.cat([advance[:, :, 1:], nothing], dim=2).unsqueeze(3)
        return own * self.ramp.clamp(max=0) + following * self.ramp.clamp(min=0)


def _ramp(parameters: VocoderParameters) -> Tensor:
    """Return the distance of each sample of a frame, in frames, from the frame's start (version 1) or centre."""
    samples = parameters.samples_per_frame
    steps = torch.arange(samples, dtype=torch.float64, device="cpu")
    exact = parameters.interpolation is Interpolation.exact
    return (((steps + 1) / samples) if exact else ((steps + 0.5) / samples - 0.5)).to(torch.get_default_dtype())
