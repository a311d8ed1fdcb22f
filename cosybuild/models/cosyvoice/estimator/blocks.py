"""The building blocks of the U-Net estimators: convolution blocks, transformer blocks and stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator.layers import SelfAttention
from cosybuild.models.cosyvoice.estimator.operators import causal_convolution, mish
from cosybuild.models.cosyvoice.estimator.past import Past
from cosybuild.models.cosyvoice.families import NORM_GROUPS, UNET_KERNEL

# Hidden states have the shape (B, T, C), and inside the transformer blocks (B * T, C). With two axes, a linear layer
# with bias is one ONNX node, and no block needs shape arithmetic. Only convolutions take (B, C, T).


class Level(NamedTuple):
    """The mask and attention bias of one time resolution.

    Attributes:
        frames: (B, T, 1), 1 where a frame is valid, else 0.
        bias: the result of `mask.attention_bias`, computed once for all blocks of the resolution.
        past: the caches of earlier calls; empty without caches.
    """

    frames: Tensor
    bias: Tensor
    past: tuple[Past, ...] = ()


class CausalConv1d(nn.Conv1d):
    """A convolution over the past only. Before the first frame it reads zeros, or frames of an earlier call."""

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """Map (B, C in, T) to (B, C out, T); `past` holds the frames of the earlier call, None stands for zeros."""
        assert self.bias is not None
        if past is not None:
            joined = past.with_context(x, self.kernel_size[0])
            return F.conv1d(joined, self.weight, self.bias, groups=self.groups)
        return causal_convolution(x, self.weight, self.bias, self.groups)


def convolution(causal: bool, dim_in: int, dim_out: int) -> nn.Conv1d:
    """Return a convolution over a frame and the two before it if `causal`, else over a frame and its neighbours."""
    return CausalConv1d(dim_in, dim_out, UNET_KERNEL) if causal else nn.Conv1d(dim_in, dim_out, 3, padding=1)


def over_time(layer: Callable[..., Tensor], x: Tensor, *past: Past) -> Tensor:
    """Apply a layer for tensors (B, C, T) to a tensor (B, T, C), and return (B, T, C)."""
    return layer(x.transpose(1, 2), *past).transpose(1, 2)


class FrameGroupNorm(nn.GroupNorm):
    """A group norm without torch's check of the batch size, which causes a warning in a trace."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T) to (B, C, T)."""
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class ConvBlock(nn.Module):
    """A convolution, a norm and Mish. The norm is GroupNorm(8) over all frames, or LayerNorm per frame if causal."""

    def __init__(self, causal: bool, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.causal = causal
        norm = nn.LayerNorm(dim_out) if causal else FrameGroupNorm(NORM_GROUPS, dim_out)
        # The keys are indices in upstream's nn.Sequential. If causal, a transpose has index 1, so the norm has index 2.
        self.block = nn.ModuleDict({"0": convolution(causal, dim_in, dim_out), "2" if causal else "1": norm})

    def forward(self, x: Tensor, *past: Past) -> Tensor:
        """Map (B, T, dim_in), zero at masked frames, to (B, T, dim_out)."""
        conv, norm = self.block.values()
        if self.causal:
            return mish(norm(over_time(conv, x, *past)))
        return over_time(lambda channels: mish(norm(conv(channels))), x)


class ResnetBlock(nn.Module):
    """A residual block: two convolution blocks, the time embedding added between them, and a linear shortcut.

    Masked frames are set to zero only before each convolution. Elsewhere their values do not matter: attention hides
    them from valid frames, and the estimator's output is masked.
    """

    def __init__(self, causal: bool, dim_in: int, dim_out: int, dim_time: int) -> None:
        super().__init__()
        self.mlp = nn.ModuleDict({"1": nn.Linear(dim_time, dim_out)})
        self.block1 = ConvBlock(causal, dim_in, dim_out)
        self.block2 = ConvBlock(causal, dim_out, dim_out)
        self.res_conv = nn.Conv1d(dim_in, dim_out, 1)

    def forward(self, x: Tensor, time: Tensor, level: Level) -> Tensor:
        """Return (B * T, dim_out).

        Args:
            x: (B, T, dim_in).
            time: the projected time embedding, (B, 1, dim_out).
            level: the mask and the caches of this resolution.
        """
        hidden = self.block1(x * level.frames, *level.past) + time
        hidden = self.block2(hidden * level.frames, *level.past)
        dim_out, dim_in, _ = self.res_conv.weight.shape
        # A convolution with a kernel of one frame is a linear layer.
        shortcut = F.linear(x.reshape(-1, dim_in), self.res_conv.weight.squeeze(2), self.res_conv.bias)
        result: Tensor = hidden.reshape(-1, dim_out) + shortcut
        return result


class FeedForward(nn.Module):
    """A linear layer to four times the width, GELU, and a linear layer back."""

    def __init__(self, dim: int, approximate: str) -> None:
        super().__init__()
        self.approximate = approximate
        # One level deeper than the second layer, as in upstream's state dict.
        first = nn.ModuleDict({"proj": nn.Linear(dim, 4 * dim)})
        self.net = nn.ModuleDict({"0": first, "2": nn.Linear(4 * dim, dim)})

    def forward(self, x: Tensor) -> Tensor:
        """Map (B * T, dim) to (B * T, dim)."""
        first = cast(nn.ModuleDict, self.net["0"])["proj"]
        result: Tensor = self.net["2"](F.gelu(first(x), approximate=self.approximate))
        return result


class TransformerBlock(nn.Module):
    """Self-attention, then a feed-forward network; each is a residual branch that begins with a layer norm."""

    def __init__(self, dim: int, heads: int, dim_head: int, approximate: str) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = SelfAttention(dim, heads, dim_head, bias=False)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, approximate)

    def forward(self, x: Tensor, batch: int, level: Level) -> Tensor:
        """Map x (B * T, dim) to (B * T, dim).

        Args:
            x: the frames of all rows.
            batch: B.
            level: the attention bias and the caches of this resolution.
        """
        x = x + self.attn1(self.norm1(x), batch, level.bias, None, *level.past)
        result: Tensor = x + self.ff(self.norm3(x))
        return result


class Resample(nn.Module):
    """A convolution that doubles the number of frames if `up` is True, else halves it."""

    def __init__(self, dim: int, up: bool) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(dim, dim, 4, 2, 1) if up else nn.Conv1d(dim, dim, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T) to (B, C, 2 * T) or (B, C, ceil(T / 2))."""
        result: Tensor = self.conv(x)
        return result


class Stage(nn.ModuleList):
    """A resnet block, transformer blocks, and optionally a layer that follows them: resampling or a convolution."""

    def __init__(self, resnet: ResnetBlock, blocks: Sequence[TransformerBlock], *after: nn.Module) -> None:
        super().__init__([resnet, nn.ModuleList(blocks), *after])

    @property
    def resnet(self) -> ResnetBlock:
        """The residual block at the begin of the stage."""
        return cast(ResnetBlock, self[0])

    def forward(self, x: Tensor, time: Tensor, level: Level) -> Tensor:
        """Return the frames (B, T, C out) of the same resolution, before the layer that follows the blocks.

        Args:
            x: (B, T, C in).
            time: the projected time embedding, (B, 1, C out).
            level: the mask, the attention bias and the caches of this resolution.
        """
        batch = x.shape[0]
        hidden: Tensor = self.resnet(x, time, level)
        for block in cast(nn.ModuleList, self[1]):
            hidden = block(hidden, batch, level)
        return hidden.reshape(batch, -1, hidden.shape[1])

    def resampled(self, x: Tensor, level: Level) -> Tensor:
        """Apply the layer that follows the blocks to (B, T, C), and return (B, T', C)."""
        return over_time(self[2], x * level.frames, *level.past)
