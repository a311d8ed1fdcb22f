"""Version 1's length regulator: linear interpolation from the rate of tokens to the rate of frames, then convolutions.

Prompt and target are interpolated separately. A target of more than 40 tokens is divided in three: its first 20 tokens,
its last 20, and those between them, so that a stream can cross-fade at whole tokens. Every piece is stretched to a
whole number of frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator.blocks import FrameGroupNorm
from cosybuild.models.cosyvoice.estimator.operators import mish

# Upstream fixes these: the overlap of streaming, and the rate of mel frames, whatever the configuration says.
_EDGE = 20
SAMPLING_RATE = 22050
HOP = 256


@dataclass(frozen=True)
class _Places:
    """The position of every frame among the tokens, as int64 tensors of shape (T,).

    Attributes:
        frame: number of the frame in its piece.
        first: index of the piece's first token.
        tokens: number of tokens of the piece.
        frames: number of frames of the piece.
    """

    frame: Tensor
    first: Tensor
    tokens: Tensor
    frames: Tensor

    def interpolate(self, x: Tensor) -> Tensor:
        """Interpolate linearly between tokens: (B, P + N, channels) -> (B, T, channels).

        Frame j of a piece lies at (j + 1/2) tokens / frames - 1/2, and at 0 if that is negative (`align_corners=False`
        of torch). The position is a fraction of whole numbers here, so it has no rounding error for long inputs.
        """
        over = torch.clamp(2 * self.frames, min=1)
        position = torch.clamp((2 * self.frame + 1) * self.tokens - self.frames, min=0)
        low = torch.div(position, over, rounding_mode="trunc")
        weight = ((position - low * over).to(x.dtype) / over.to(x.dtype)).unsqueeze(1)
        # Without this, a prompt without tokens would read the index -1.
        high = torch.clamp(torch.minimum(low + 1, self.tokens - 1), min=0)
        before, after = x.index_select(1, self.first + low), x.index_select(1, self.first + high)
        return before * (1.0 - weight) + after * weight


class Mish(nn.Module):
    """The activation, as one node of a graph."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x tanh(softplus(x))."""
        return mish(x)


class LengthRegulator(nn.Module):
    """Interpolation, then convolution, group norm and Mish for each ratio, and a convolution of width 1.

    Args:
        channels: channels of input and output.
        sampling_ratios: one entry for each convolution of width 3; upstream's class accepts only ones here.
        token_rate: tokens a second.
    """

    def __init__(self, channels: int, sampling_ratios: tuple[int, ...], token_rate: int) -> None:
        super().__init__()
        self.token_rate = token_rate
        parts: list[nn.Module] = []
        for _ in sampling_ratios:
            parts += [nn.Conv1d(channels, channels, 3, padding=1), FrameGroupNorm(1, channels), Mish()]
        self.model = nn.Sequential(*parts, nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor, prompt_tokens: int, prompt_frames: int) -> Tensor:
        """Map (B, P + N, channels) to (B, prompt_frames + frames_of(N), channels).

        Args:
            x: the prompt's tokens, then the target's.
            prompt_tokens: P, the number of the prompt's tokens.
            prompt_frames: frames of the prompt.
        """
        frames = frames_of(x.shape[1] - prompt_tokens, self.token_rate)
        places = self._places(x, prompt_tokens, prompt_frames, frames)
        result: Tensor = self.model(places.interpolate(x).transpose(1, 2)).transpose(1, 2)
        return result

    def _places(self, x: Tensor, prompt_tokens: int, prompt_frames: int, frames: int) -> _Places:
        """Return the position of every frame. Every size is a tensor, so that one graph serves all lengths."""
        frame = torch.arange(prompt_frames + frames, device=x.device)
        prompt, shown = _counted(prompt_tokens, x), _counted(prompt_frames, x)
        tokens, length = _counted(x.shape[1] - prompt_tokens, x), _counted(frames, x)
        # A short target is one piece: its edges are empty.
        is_long = (tokens > 2 * _EDGE).to(torch.int64)
        edge, edge_frames = is_long * _EDGE, is_long * frames_of(_EDGE, self.token_rate)
        in_prompt, at_head, at_tail = frame < shown, frame < shown + edge_frames, frame >= shown + length - edge_frames

        def chosen(of_prompt: Tensor, head: Tensor, middle: Tensor, tail: Tensor) -> Tensor:
            target = torch.where(at_head, head, torch.where(at_tail, tail, middle))
            return torch.where(in_prompt, of_prompt, target)

        nothing = torch.zeros_like(tokens)
        first_frame = chosen(nothing, shown, shown + edge_frames, shown + length - edge_frames)
        return _Places(
            frame=frame - first_frame,
            first=chosen(nothing, prompt, prompt + edge, prompt + tokens - edge),
            tokens=chosen(prompt, edge, tokens - 2 * edge, edge),
            frames=chosen(shown, edge_frames, length - 2 * edge_frames, edge_frames),
        )


def frames_of(tokens: int, token_rate: int) -> int:
    """Return the whole number of mel frames in `tokens` tokens.

    Upstream computes int(tokens / rate * 22050 / 256) in floating point, this function in whole numbers. The results
    are equal for all targets of up to 6,000 tokens, except that upstream's is one less for 4,480 tokens at 25 Hz.
    """
    return tokens * SAMPLING_RATE // (token_rate * HOP)


def _counted(count: int, like: Tensor) -> Tensor:
    """Return a size as a tensor without axes, so that both exporters keep it dynamic."""
    return torch.ones(count, dtype=torch.int64, device=like.device).sum()
