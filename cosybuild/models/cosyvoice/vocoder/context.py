"""The context of a mel frame: the earlier and later frames on which its samples depend, and which a stream keeps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cosybuild.models.cosyvoice.vocoder.parameters import (
    F0_LAYERS,
    F0_LOOKAHEAD,
    F0_WIDTH,
    FIRST_WIDTH,
    LAST_WIDTH,
    Interpolation,
    VocoderParameters,
)


@dataclass(frozen=True)
class Span:
    """A range of positions from `low` to `high`, both included."""

    low: int
    high: int

    def read_by(self, width: int, left: int, *, stride: int = 1, dilation: int = 1) -> Span:
        """Return the inputs of a convolution on which the outputs in this span depend.

        Args:
            width: width of the kernel.
            left: zeros before the input.
            stride: stride of the convolution.
            dilation: dilation of the kernel.
        """
        return Span(self.low * stride - left, self.high * stride - left + (width - 1) * dilation)

    def spread_by(self, width: int, left: int, rate: int) -> Span:
        """Return the inputs of a transposed convolution on which the outputs in this span depend.

        Args:
            width: width of the kernel.
            left: outputs that are cut off at the start.
            rate: stride of the transposed convolution.
        """
        return Span(-((-(self.low + left - width + 1)) // rate), (self.high + left) // rate)

    def widened(self, left: int, right: int) -> Span:
        """Return this span with `left` positions added before it and `right` positions added after it."""
        return Span(self.low - left, self.high + right)

    def joined(self, other: Span) -> Span:
        """Return the smallest span that contains this span and `other`."""
        return Span(min(self.low, other.low), max(self.high, other.high))

    def within(self, size: int) -> Span:
        """Return the numbers of the groups that contain this span, if each group has `size` positions."""
        return Span(self.low // size, self.high // size)


def context_frames(parameters: VocoderParameters) -> tuple[int, int]:
    """Return the numbers of mel frames before and after a frame on which the frame's samples depend.

    The function follows the vocoder's layers from the samples back to the mel.
    """
    own = parameters
    # The first value of the periodic window is zero, so a spectrum depends on n_fft - 1 samples.
    width, half = own.n_fft - 1, own.n_fft // 2 - 1
    x = Span(0, own.samples_per_frame - 1).spread_by(width, half, own.hop_len)
    x = _same(x, own, LAST_WIDTH)
    source: Span | None = None
    blocks = list(zip(own.resblock_kernel_sizes, own.resblock_dilation_sizes, strict=True))
    for stage in reversed(range(len(own.upsample_rates))):
        x = max((_block(x, own, *block) for block in blocks), key=lambda span: span.high - span.low)
        size, dilations = own.source_resblock_kernel_sizes[stage], own.source_resblock_dilation_sizes[stage]
        rate = math.prod(own.upsample_rates[stage + 1 :])
        spectra = _block(x, own, size, dilations)
        if rate > 1:
            spectra = spectra.read_by(2 * rate, rate - 1 if own.causal else rate // 2, stride=rate)
        source = spectra if source is None else source.joined(spectra)
        if stage == len(own.upsample_rates) - 1:
            x = Span(x.low - 1, x.high - 1)  # `Generator.longer` adds one position in front
        x = _upsampled(x, own, stage)
    assert source is not None
    samples = source.read_by(width, half, stride=own.hop_len)
    frames = samples.within(own.samples_per_frame)
    if own.interpolation is Interpolation.linear:
        frames = frames.widened(0, 1)
    for layer in range(F0_LAYERS):
        first = layer == F0_LAYERS - 1  # the loop goes from the last layer to the first
        ahead = first and own.causal
        frames = frames.widened(0, F0_LOOKAHEAD) if ahead else _same(frames, own, F0_WIDTH)
    mel = x.widened(0, own.conv_pre_look_right) if own.causal else _same(x, own, FIRST_WIDTH)
    both = mel.joined(frames)
    return -both.low, both.high


def _same(span: Span, own: VocoderParameters, width: int, dilation: int = 1) -> Span:
    total = (width - 1) * dilation
    left = total if own.causal else total // 2
    return span.widened(left, total - left)


def _block(span: Span, own: VocoderParameters, width: int, dilations: tuple[int, ...]) -> Span:
    for dilation in dilations:
        span = _same(_same(span, own, width), own, width, dilation)
    return span


def _upsampled(span: Span, own: VocoderParameters, stage: int) -> Span:
    rate, width = own.upsample_rates[stage], own.upsample_kernel_sizes[stage]
    if own.causal:
        return span.widened(width - 1, 0).within(rate)
    return span.spread_by(width, (width - rate) // 2, rate)
