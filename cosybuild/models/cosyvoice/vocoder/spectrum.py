"""Short-time spectra as convolutions with fixed kernels: no complex types, and no operator STFT or DFT."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Analysis(nn.Module):
    """The spectra of a signal, as `torch.stft` computes them with `center=True`, a periodic Hann window and reflection.

    Args:
        n_fft: length of the window, even.
        hop: samples from the start of a window to the start of the next one.
    """

    kernel: Tensor

    def __init__(self, n_fft: int, hop: int) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        cosines, sines = _waves(n_fft)
        kernel = torch.cat([cosines, -sines]) * hann(n_fft)
        self.register_buffer("kernel", kernel.unsqueeze(1).to(torch.get_default_dtype()), persistent=False)

    def forward(self, signal: Tensor) -> Tensor:
        """Return the spectra of a signal (B, 1, N): real and imaginary parts, (B, 2 * bins, N / hop + 1)."""
        half = self.n_fft // 2
        return F.conv1d(F.pad(signal, (half, half), mode="reflect"), self.kernel, stride=self.hop)


class Synthesis(nn.Module):
    """The signal of spectra, as `torch.istft` computes it: overlapping windows, divided by their envelope, trimmed."""

    kernel: Tensor
    envelope: Tensor

    def __init__(self, n_fft: int, hop: int) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        cosines, sines = _waves(n_fft)
        # A bin besides the first and the last stands for its conjugate too.
        twice = torch.full((n_fft // 2 + 1, 1), 2.0, dtype=torch.float64, device="cpu")
        twice[0] = twice[-1] = 1
        window = hann(n_fft)
        kernel = torch.cat([cosines * twice, -sines * twice]) * window / n_fft
        dtype = torch.get_default_dtype()
        self.register_buffer("kernel", kernel.unsqueeze(1).to(dtype), persistent=False)
        self.register_buffer("envelope", (window**2).reshape(1, 1, -1).to(dtype), persistent=False)

    def forward(self, spectra: Tensor) -> Tensor:
        """Return the signal (B, 1, (F - 1) * hop) of spectra: real and imaginary parts, (B, 2 * bins, F)."""
        half = self.n_fft // 2
        # A transposed convolution leaves out as many samples at each end as its padding states.
        signal = F.conv_transpose1d(spectra, self.kernel, stride=self.hop, padding=half)
        windows = torch.ones_like(spectra[:1, :1])
        return signal / F.conv_transpose1d(windows, self.envelope, stride=self.hop, padding=half)


def hann(n_fft: int) -> Tensor:
    """Return the periodic Hann window in float64, whatever the default device."""
    return torch.hann_window(n_fft, periodic=True, dtype=torch.float64, device="cpu")


def _waves(n_fft: int) -> tuple[Tensor, Tensor]:
    """Return cosines and sines (bins, n_fft) in float64."""
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64, device="cpu").unsqueeze(1)
    angles = 2 * torch.pi * bins * torch.arange(n_fft, dtype=torch.float64, device="cpu") / n_fft
    return torch.cos(angles), torch.sin(angles)
