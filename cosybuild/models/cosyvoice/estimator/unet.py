"""The U-Net estimators of CosyVoice 1 (symmetric convolutions) and 2 (causal ones)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator.blocks import (
    ConvBlock,
    Level,
    Resample,
    ResnetBlock,
    Stage,
    TransformerBlock,
    convolution,
)
from cosybuild.models.cosyvoice.estimator.layers import TimeEmbedding
from cosybuild.models.cosyvoice.estimator.mask import attention_bias
from cosybuild.models.cosyvoice.estimator.operators import mish
from cosybuild.models.cosyvoice.estimator.past import Past


class UNet(nn.Module):
    """The velocity estimator of CosyVoice 1 and 2. Its parameters have the names of CosyVoice's checkpoints.

    Args:
        in_channels: channels of x, mu, spks and cond together.
        out_channels: mel channels.
        channels: channels at each resolution; each resolution has half the frames of the one before it.
        n_blocks: number of transformer blocks in a stage.
        num_mid_blocks: number of middle stages, at the lowest resolution.
        num_heads, attention_head_dim: number of attention heads, and channels of each.
        act_fn: `gelu` (exact) or `gelu-approximate` (tanh).
        causal: True for version 2, with convolutions over the past only and chunked attention for streaming.
        static_chunk_size: frames of a streaming chunk.
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

        def stage(dim_in: int, dim_out: int, *after: nn.Module) -> Stage:
            blocks = [TransformerBlock(dim_out, num_heads, attention_head_dim, approximate) for _ in range(n_blocks)]
            return Stage(ResnetBlock(causal, dim_in, dim_out, dim_time), blocks, *after)

        def after(index: int, dim: int, up: bool) -> nn.Module:
            last = index == len(channels) - 1
            return convolution(causal, dim, dim) if last else Resample(dim, up)

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
        past: Past | None = None,
    ) -> Tensor:
        """Return the velocity at time t, (B, mel, T). It is zero at masked frames.

        Args:
            x, mu, cond: (B, mel, T).
            mask: (B, 1, T), 1 where a frame is valid, else 0.
            t: (B,) in 0..1.
            spks: (B, speaker).
            streaming: True if the attention of a frame covers its own chunk and all earlier ones (only if causal).
            past: the caches of earlier calls, or None. They require `streaming` and a single resolution, because the
                convolution between two resolutions reads a frame of the next chunk.
        """
        assert self.causal or not streaming
        assert past is None or (streaming and len(self.down_blocks) == 1)
        kept = () if past is None else (past,)
        times = iter(self._times(t))
        levels = [self._level(mask, streaming, kept)]
        # The product with the mask repeats the speaker vector for each frame. Masked frames are hidden later anyway.
        hidden = torch.cat((x, mu, spks.unsqueeze(2) * mask, cond), dim=1).transpose(1, 2)
        skips: list[Tensor] = []
        for stage in _stages(self.down_blocks):
            if skips:
                mask = mask[:, :, ::2]
                levels.append(self._level(mask, streaming, kept))
            hidden = stage(hidden, next(times), levels[-1])
            skips.append(hidden)
            hidden = stage.resampled(hidden, levels[-1])
        for stage in _stages(self.mid_blocks):
            hidden = stage(hidden, next(times), levels[-1])
        level = levels[-1]
        for stage in _stages(self.up_blocks):
            skip = skips.pop()
            if level is not levels[-1]:
                # A doubled length has one frame too many if the original was odd.
                hidden = hidden[:, : skip.shape[1]]
            level = levels.pop()
            hidden = stage(torch.cat((hidden, skip), dim=2), next(times), level)
            hidden = stage.resampled(hidden, level)
        hidden = self.final_block(hidden * level.frames, *level.past).transpose(1, 2)
        result: Tensor = self.final_proj(hidden) * level.frames.transpose(1, 2)
        return result

    @torch.no_grad()
    def fuse_for_export(self) -> None:
        """Replace the time projections of all stages by one linear layer. This changes the names in the state dict."""
        if self.time_projection is not None:
            return
        resnets = self._resnets()
        layers = [cast(nn.Linear, resnet.mlp["1"]) for resnet in resnets]
        weight = torch.cat([layer.weight for layer in layers])
        self.time_projection = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        self.time_projection.weight = nn.Parameter(weight, requires_grad=False)
        self.time_projection.bias = nn.Parameter(torch.cat([layer.bias for layer in layers]), requires_grad=False)
        for resnet in resnets:
            del resnet.mlp

    def _resnets(self) -> list[ResnetBlock]:
        groups = (self.down_blocks, self.mid_blocks, self.up_blocks)
        return [stage.resnet for group in groups for stage in _stages(group)]

    def _times(self, t: Tensor) -> Sequence[Tensor]:
        """Map times (B,) to one time embedding (B, 1, C) for each residual block of the U-Net."""
        embedded = mish(self.time_mlp(t))
        if self.time_projection is None:
            return [resnet.mlp["1"](embedded).unsqueeze(1) for resnet in self._resnets()]
        sizes = [resnet.res_conv.out_channels for resnet in self._resnets()]
        return torch.split(self.time_projection(embedded).unsqueeze(1), sizes, dim=2)

    def _level(self, mask: Tensor, streaming: bool, past: tuple[Past, ...]) -> Level:
        chunk = self.chunk if streaming else None
        return Level(mask.transpose(1, 2), attention_bias(mask, chunk, *(one.visible for one in past)), past)


def _stages(group: nn.ModuleList) -> Iterable[Stage]:
    return cast(Iterable[Stage], group)
