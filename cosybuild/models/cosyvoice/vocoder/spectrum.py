"""Short-time spectra as convolutions with fixed kernels, without complex types and the operators STFT and DFT."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Analysis(nn.Module):
    """The short-time spectra of a signal, with a periodic Hann window.

    The result is that of `torch.stft` with `center=True` and reflection at the ends.

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
    """The signal with given short-time spectra, as `torch.istft` computes it.

    Overlapping windows are added and divided by the sum of the squared windows, and both ends are cut off.

    Args:
        n_fft: length of the window, even.
        hop: samples from the start of a window to the start of the next one.
    """

    kernel: Tensor
    envelope: Tensor

    def __init__(self, n_fft: int, hop: int) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        cosines, sines = _waves(n_fft)
        # All bins except the first and the last also represent their complex conjugates.
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
        # The padding of a transposed convolution is the number of samples that it cuts off at each end.
        signal = F.conv_transpose1d(spectra, self.kernel, stride=self.hop, padding=half)
        windows = torch.ones_like(spectra[:1, :1])
        return signal / F.conv_transpose1d(windows, self.envelope, stride=self.hop, padding=half)


def hann(n_fft: int) -> Tensor:
    """Return the periodic Hann window (n_fft,) in float64, on the CPU for any default device."""
    return torch.hann_window(n_fft, periodic=True, dtype=torch.float64, device="cpu")


def _waves(n_fft: int) -> tuple[Tensor, Tensor]:
    """Return the cosines and the sines of all frequency bins of a DFT, each (bins, n_fft), in float64."""
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64, device="cpu").unsqueeze(1)
    angles = 2 * torch.pi * bins * torch.arange(n_fft, dtype=torch.float64, device="cpu") / n_fft
    return torch.cos(angles), torch.sin(angles)
