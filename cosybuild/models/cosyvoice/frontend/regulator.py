"""The length regulator of CosyVoice 1: linear interpolation from the token rate to the frame rate, then convolutions.

Prompt and target are interpolated separately. A target of more than 40 tokens is divided into three pieces: its first
20 tokens, its last 20 tokens, and those between them. A stream can then cross-fade at whole tokens. Every piece is
stretched to a whole number of frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator.blocks import FrameGroupNorm
from cosybuild.models.cosyvoice.estimator.operators import mish

# Constants in CosyVoice's code: the tokens at each end of a long target, and the rate of mel frames (22050 / 256 per
# second), which does not depend on the configuration.
_EDGE = 20
SAMPLING_RATE = 22050
HOP = 256


@dataclass(frozen=True)
class _Places:
    """For each of T frames, the piece of tokens that it is interpolated from, as int64 tensors of shape (T,).

    Attributes:
        frame: number of the frame within its piece, from 0.
        first: index of the first token of the piece.
        tokens: number of tokens of the piece.
        frames: number of frames of the piece.
    """

    frame: Tensor
    first: Tensor
    tokens: Tensor
    frames: Tensor

    def interpolate(self, x: Tensor) -> Tensor:
        """Interpolate linearly between tokens: (B, P + N, channels) -> (B, T, channels).

        Frame j of a piece has the position (j + 1/2) tokens / frames - 1/2 among the tokens of the piece, or 0 if that
        is negative (as torch computes it with `align_corners=False`). The position is computed as a fraction of
        integers, so it has no rounding error for long inputs.
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
    """The activation Mish as a module, which an export can write as one node."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x tanh(softplus(x)), for x of any shape."""
        return mish(x)


class LengthRegulator(nn.Module):
    """Linear interpolation, then several blocks of convolution, group norm and Mish, and a convolution of width 1.

    Args:
        channels: channels of input and output.
        sampling_ratios: its length is the number of blocks, each with a convolution of width 3. CosyVoice's class works
            only if every entry is 1.
        token_rate: speech tokens per second.
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
            x: the encoded tokens of the prompt, then those of the target.
            prompt_tokens: P, the number of the prompt's tokens.
            prompt_frames: the number of the prompt's mel frames.
        """
        frames = frames_of(x.shape[1] - prompt_tokens, self.token_rate)
        places = self._places(x, prompt_tokens, prompt_frames, frames)
        result: Tensor = self.model(places.interpolate(x).transpose(1, 2)).transpose(1, 2)
        return result

    def _places(self, x: Tensor, prompt_tokens: int, prompt_frames: int, frames: int) -> _Places:
        """Return the piece of every frame. All sizes are computed as tensors, so that one graph serves all lengths."""
        frame = torch.arange(prompt_frames + frames, device=x.device)
        prompt, shown = _counted(prompt_tokens, x), _counted(prompt_frames, x)
        tokens, length = _counted(x.shape[1] - prompt_tokens, x), _counted(frames, x)
        # A short target is one piece: its first and its last piece are empty.
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
    """Return the number of mel frames for `tokens` tokens, rounded down, at `token_rate` tokens per second.

    CosyVoice computes int(tokens / rate * 22050 / 256) in floating point, this function in integers. The results are
    equal for all targets of up to 6,000 tokens, except that CosyVoice's is one less for 4,480 tokens at 25 Hz.
    """
    return tokens * SAMPLING_RATE // (token_rate * HOP)


def _counted(count: int, like: Tensor) -> Tensor:
    """Return `count` as an int64 tensor without axes on the device of `like`; both exporters keep it dynamic."""
    return torch.ones(count, dtype=torch.int64, device=like.device).sum()
