"""The U-Net estimators of CosyVoice 1 (symmetric convolutions) and 2 (causal ones)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosybuild.models.cosyvoice.layers import SelfAttention, TimeEmbedding, mish
from cosybuild.models.cosyvoice.mask import attention_bias

NORM_GROUPS = 8
"""Groups of version 1's group norm."""

# Frames travel as (B, T, C), inside the transformer blocks as (B * T, C): there a linear layer with bias
# is one ONNX node, and no block needs shape arithmetic. Only convolutions see (B, C, T).


class Level(NamedTuple):
    """One time resolution.

    Attributes:
        frames: (B, T, 1), 1 where valid.
        bias: for attention, built once for all blocks of the resolution.
    """

    frames: Tensor
    bias: Tensor


class CausalConv1d(nn.Conv1d):
    """A convolution that sees the past only."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (self.kernel_size[0] - 1, 0)))


def _conv(causal: bool, dim_in: int, dim_out: int) -> nn.Conv1d:
    return CausalConv1d(dim_in, dim_out, 3) if causal else nn.Conv1d(dim_in, dim_out, 3, padding=1)


def _over_time(layer: nn.Module, x: Tensor) -> Tensor:
    """A (B, C, T) layer on (B, T, C)."""
    result: Tensor = layer(x.transpose(1, 2))
    return result.transpose(1, 2)


class FrameGroupNorm(nn.GroupNorm):
    """Group norm without torch's check of the batch size, which a trace warns of."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class ConvBlock(nn.Module):
    """Convolution, norm, Mish: GroupNorm(8) over all frames, or LayerNorm of each frame if causal."""

    def __init__(self, causal: bool, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.causal = causal
        norm = nn.LayerNorm(dim_out) if causal else FrameGroupNorm(NORM_GROUPS, dim_out)
        # The state dict numbers the layers of a sequence in which the causal one has a transpose.
        self.block = nn.ModuleDict({"0": _conv(causal, dim_in, dim_out), "2" if causal else "1": norm})

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, dim_in), zero at masked frames -> (B, T, dim_out)."""
        conv, norm = self.block.values()
        if self.causal:
            return mish(norm(_over_time(conv, x)))
        return mish(norm(conv(x.transpose(1, 2)))).transpose(1, 2)


class ResnetBlock(nn.Module):
    """Two convolution blocks with the time embedding between them, and a linear shortcut.

    Masked frames are zeroed before each convolution and nowhere else: what stands in them reaches no valid
    frame, attention hides them, and the estimator's output is masked.
    """

    def __init__(self, causal: bool, dim_in: int, dim_out: int, dim_time: int) -> None:
        super().__init__()
        self.mlp = nn.ModuleDict({"1": nn.Linear(dim_time, dim_out)})
        self.block1 = ConvBlock(causal, dim_in, dim_out)
        self.block2 = ConvBlock(causal, dim_out, dim_out)
        self.res_conv = nn.Conv1d(dim_in, dim_out, 1)

    def forward(self, x: Tensor, time: Tensor, frames: Tensor) -> Tensor:
        """(B, T, dim_in), (B, 1, dim_out), (B, T, 1) -> (B * T, dim_out)."""
        hidden = self.block1(x * frames) + time
        hidden = self.block2(hidden * frames)
        dim_out, dim_in, _ = self.res_conv.weight.shape
        # A kernel of one frame is a linear layer.
        shortcut = F.linear(x.reshape(-1, dim_in), self.res_conv.weight.squeeze(2), self.res_conv.bias)
        return hidden.reshape(-1, dim_out) + shortcut


class FeedForward(nn.Module):
    """Linear to four times the width, GELU, linear back."""

    def __init__(self, dim: int, approximate: str) -> None:
        super().__init__()
        self.approximate = approximate
        first = nn.Module()
        first.proj = nn.Linear(dim, 4 * dim)
        self.net = nn.ModuleDict({"0": first, "2": nn.Linear(4 * dim, dim)})

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.net["2"](F.gelu(self.net["0"].proj(x), approximate=self.approximate))
        return result


class TransformerBlock(nn.Module):
    """Attention and feed-forward, each normed before and added to its input."""

    def __init__(self, dim: int, heads: int, dim_head: int, approximate: str) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = SelfAttention(dim, heads, dim_head, bias=False)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, approximate)

    def forward(self, x: Tensor, batch: int, bias: Tensor) -> Tensor:
        """(B * T, dim) -> (B * T, dim)."""
        x = x + self.attn1(self.norm1(x), batch, bias)
        result: Tensor = x + self.ff(self.norm3(x))
        return result


class Resample(nn.Module):
    """Half or double the frames."""

    def __init__(self, dim: int, up: bool) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(dim, dim, 4, 2, 1) if up else nn.Conv1d(dim, dim, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, 2 T) or (B, C, ceil(T / 2))."""
        result: Tensor = self.conv(x)
        return result


class UNet(nn.Module):
    """The velocity estimator of CosyVoice 1 and 2; parameters are named as in upstream's checkpoints.

    Args:
        in_channels: of x, mu, spks and cond together.
        out_channels: mel channels.
        channels: width of each resolution; the frames halve from one to the next.
        n_blocks: transformer blocks a stage.
        num_mid_blocks: stages at the lowest resolution.
        num_heads, attention_head_dim: shape of the attention heads.
        act_fn: `gelu` (exact) or `gelu-approximate` (tanh).
        causal: version 2: convolutions that see the past only, chunked attention for streaming.
        static_chunk_size: frames a streaming chunk.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int],
        n_blocks: int,
        num_mid_blocks: int,
        num_heads: int,
        attention_head_dim: int,
        act_fn: str = "gelu",
        causal: bool,
        static_chunk_size: int = 0,
    ) -> None:
        super().__init__()
        self.causal = causal
        self.chunk = static_chunk_size
        dim_time = 4 * channels[0]
        approximate = {"gelu": "none", "gelu-approximate": "tanh"}[act_fn]

        def stage(dim_in: int, dim_out: int, *after: nn.Module) -> nn.ModuleList:
            blocks = [TransformerBlock(dim_out, num_heads, attention_head_dim, approximate) for _ in range(n_blocks)]
            return nn.ModuleList([ResnetBlock(causal, dim_in, dim_out, dim_time), nn.ModuleList(blocks), *after])

        def after(index: int, dim: int, up: bool) -> nn.Module:
            last = index == len(channels) - 1
            return _conv(causal, dim, dim) if last else Resample(dim, up)

        self.time_mlp = TimeEmbedding(in_channels, dim_time, ("linear_1", "linear_2"))
        down = pairwise((in_channels, *channels))
        self.down_blocks = nn.ModuleList(stage(a, b, after(i, b, up=False)) for i, (a, b) in enumerate(down))
        lowest = channels[-1]
        self.mid_blocks = nn.ModuleList(stage(lowest, lowest) for _ in range(num_mid_blocks))
        widths = (*reversed(channels), channels[0])
        up = pairwise(widths)
        self.up_blocks = nn.ModuleList(stage(2 * a, b, after(i, b, up=True)) for i, (a, b) in enumerate(up))
        self.final_block = ConvBlock(causal, channels[0], channels[0])
        self.final_proj = nn.Conv1d(channels[0], out_channels, 1)
        self.time_projection: nn.Linear | None = None

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        mu: Tensor,
        t: Tensor,
        spks: Tensor,
        cond: Tensor,
        streaming: bool = False,
    ) -> Tensor:
        """The velocity at time t.

        Args:
            x, mu, cond: (B, mel, T).
            mask: (B, 1, T), 1 where a frame is valid, else 0.
            t: (B,) in 0..1.
            spks: (B, speaker).
            streaming: attention sees its own chunk and all before it (causal ones only).

        Returns:
            (B, mel, T), zero at masked frames.
        """
        assert self.causal or not streaming
        batch = x.shape[0]
        times = iter(self._times(t))
        levels = [self._level(mask, streaming)]
        # The mask spreads the speaker over the frames; masked ones are hidden anyway.
        hidden = torch.cat((x, mu, spks.unsqueeze(2) * mask, cond), dim=1).transpose(1, 2)
        skips: list[Tensor] = []
        for index, (resnet, blocks, downsample) in enumerate(self.down_blocks):
            if index:
                mask = mask[:, :, ::2]
                levels.append(self._level(mask, streaming))
            hidden = self._stage(resnet, blocks, hidden, next(times), levels[-1], batch)
            skips.append(hidden)
            hidden = _over_time(downsample, hidden * levels[-1].frames)
        for resnet, blocks in self.mid_blocks:
            hidden = self._stage(resnet, blocks, hidden, next(times), levels[-1], batch)
        for resnet, blocks, upsample in self.up_blocks:
            level, skip = levels.pop(), skips.pop()
            if len(levels) + 1 < len(self.down_blocks):
                # Doubling an odd length gives one frame too many.
                hidden = hidden[:, : skip.shape[1]]
            hidden = self._stage(resnet, blocks, torch.cat((hidden, skip), dim=2), next(times), level, batch)
            hidden = _over_time(upsample, hidden * level.frames)
        hidden = self.final_block(hidden * level.frames).transpose(1, 2)
        result: Tensor = self.final_proj(hidden) * level.frames.transpose(1, 2)
        return result

    @torch.no_grad()
    def fuse_for_export(self) -> None:
        """Turn the time projections of all stages into one linear layer. The state dict changes with it."""
        if self.time_projection is not None:
            return
        resnets = self._resnets()
        weight = torch.cat([resnet.mlp["1"].weight for resnet in resnets])
        fused = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        fused.weight = nn.Parameter(weight, requires_grad=False)
        fused.bias = nn.Parameter(torch.cat([resnet.mlp["1"].bias for resnet in resnets]), requires_grad=False)
        self.time_projection = fused
        for resnet in resnets:
            del resnet.mlp

    def _resnets(self) -> list[ResnetBlock]:
        return [stage[0] for stages in (self.down_blocks, self.mid_blocks, self.up_blocks) for stage in stages]

    def _times(self, t: Tensor) -> Sequence[Tensor]:
        """(B,) -> one (B, 1, C) for each stage."""
        embedded = mish(self.time_mlp(t))
        if self.time_projection is None:
            return [resnet.mlp["1"](embedded).unsqueeze(1) for resnet in self._resnets()]
        sizes = [resnet.res_conv.out_channels for resnet in self._resnets()]
        return self.time_projection(embedded).unsqueeze(1).split(sizes, dim=2)

    def _level(self, mask: Tensor, streaming: bool) -> Level:
        return Level(mask.transpose(1, 2), attention_bias(mask, self.chunk if streaming else None))

    @staticmethod
    def _stage(resnet: nn.Module, blocks: nn.Module, x: Tensor, time: Tensor, level: Level, batch: int) -> Tensor:
        """(B, T, C in) -> (B, T, C out)."""
        hidden: Tensor = resnet(x, time, level.frames)
        for block in blocks:
            hidden = block(hidden, batch, level.bias)
        return hidden.reshape(batch, -1, hidden.shape[1])
