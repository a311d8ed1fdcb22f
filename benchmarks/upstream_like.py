"""The CosyVoice 2 estimator in the form of its authors' code, for the comparison of graphs.

This is our own code, written from the shapes of the state dict and a description of the computation: channels before
frames outside attention, so that every linear layer, norm and attention stands between two transposes; a mask
multiplication around every convolution; three projections for q, k and v; an attention mask built anew in every
stage, (B, T, T), turned into `(1 - mask) * -1e10` and repeated for every head in every block; one linear layer a
stage for the time. It computes the same function; weights are taken from a `UNet` by `from_unet`.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator.blocks import ConvBlock, ResnetBlock, Stage, TransformerBlock
from cosybuild.models.cosyvoice.estimator.layers import TimeEmbedding
from cosybuild.models.cosyvoice.estimator.mask import attention_bias
from cosybuild.models.cosyvoice.estimator.unet import UNet

HIDDEN = -1.0e10


class Attention(nn.Module):
    """Three projections, torch's attention with a mask of (B, heads, T, T)."""

    def __init__(self, block: TransformerBlock) -> None:
        super().__init__()
        own = block.attn1
        self.heads = own.heads
        self.to_q, self.to_k, self.to_v, self.to_out = own.to_q, own.to_k, own.to_v, own.to_out[0]

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        batch, _, inner = x.shape[0], x.shape[1], self.to_q.out_features
        query, key, value = (
            projection(x).view(batch, -1, self.heads, inner // self.heads).transpose(1, 2)
            for projection in (self.to_q, self.to_k, self.to_v)
        )
        if bias.dim() == 3:
            repeated = bias.repeat_interleave(self.heads, dim=0)
            bias = repeated.view(batch, self.heads, -1, repeated.shape[-1])
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return cast(Tensor, self.to_out(mixed.transpose(1, 2).reshape(batch, -1, inner)))


class Block(nn.Module):
    """Norm, attention, norm, feed-forward on (B, T, C)."""

    def __init__(self, block: TransformerBlock) -> None:
        super().__init__()
        self.norm1, self.norm3 = block.norm1, block.norm3
        self.attention = Attention(block)
        self.first = cast(Any, block.ff.net["0"])["proj"]
        self.second = block.ff.net["2"]

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = self.attention(self.norm1(x), bias) + x
        return cast(Tensor, self.second(F.gelu(self.first(self.norm3(x)))) + x)


class Convolutions(nn.Module):
    """Causal convolution, transpose, norm, transpose, Mish on (B, C, T), masked before and after."""

    def __init__(self, block: ConvBlock) -> None:
        super().__init__()
        self.conv, self.norm = block.block.values()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        padded = F.pad(x * mask, (2, 0))
        hidden = F.conv1d(padded, self.conv.weight, self.conv.bias)
        hidden = self.norm(hidden.transpose(1, 2)).transpose(1, 2)
        # Softplus, tanh and a product, as torch's exporter writes it.
        return hidden * torch.tanh(F.softplus(hidden)) * mask


class Resnet(nn.Module):
    """Two convolution blocks, the time embedding between them, and a convolution of one frame beside them."""

    def __init__(self, block: ResnetBlock) -> None:
        super().__init__()
        self.time = block.mlp["1"]
        self.block1, self.block2 = Convolutions(block.block1), Convolutions(block.block2)
        self.res_conv = block.res_conv

    def forward(self, x: Tensor, mask: Tensor, time: Tensor) -> Tensor:
        hidden = self.block1(x, mask) + self.time(F.mish(time)).unsqueeze(-1)
        hidden = self.block2(hidden, mask)
        return cast(Tensor, hidden + self.res_conv(x * mask))


class UpstreamLike(nn.Module):
    """The whole estimator, with the modules and weights of a `UNet` of one resolution.

    Args:
        one_mask: build the attention mask once, (B, 1, 1, T), instead of as described above.
    """

    def __init__(self, unet: UNet, one_mask: bool) -> None:
        super().__init__()
        self.one_mask = one_mask
        assert unet.causal
        assert len(unet.down_blocks) == 1
        self.time_mlp: TimeEmbedding = unet.time_mlp
        stages = [cast(Stage, s) for group in (unet.down_blocks, unet.mid_blocks, unet.up_blocks) for s in group]
        self.resnets = nn.ModuleList(Resnet(stage.resnet) for stage in stages)
        self.blocks = nn.ModuleList(nn.ModuleList(Block(b) for b in cast(Any, stage[1])) for stage in stages)
        self.down, self.up = stages[0][2], stages[-1][2]
        self.final = Convolutions(unet.final_block)
        self.final_proj = unet.final_proj

    def forward(self, x: Tensor, mask: Tensor, mu: Tensor, t: Tensor, spks: Tensor, cond: Tensor) -> Tensor:
        time = self.time_mlp(t)
        spread = spks.unsqueeze(-1).expand(-1, -1, x.shape[-1])
        hidden = torch.cat((torch.cat((torch.cat((x, mu), 1), spread), 1), cond), 1)
        hidden = self._stage(0, hidden, mask, time)
        skip = hidden
        hidden = self._causal(self.down, hidden * mask)
        for index in range(1, len(self.resnets) - 1):
            hidden = self._stage(index, hidden, mask, time)
        hidden = torch.cat((hidden[:, :, : skip.shape[-1]], skip), 1)
        hidden = self._stage(len(self.resnets) - 1, hidden, mask, time)
        hidden = self._causal(self.up, hidden * mask)
        return cast(Tensor, self.final_proj(self.final(hidden, mask) * mask) * mask)

    def _stage(self, index: int, x: Tensor, mask: Tensor, time: Tensor) -> Tensor:
        hidden = self.resnets[index](x, mask, time).transpose(1, 2).contiguous()
        bias = self._bias(mask, hidden)
        for block in cast(nn.ModuleList, self.blocks[index]):
            hidden = block(hidden, bias)
        return hidden.transpose(1, 2).contiguous()

    def _bias(self, mask: Tensor, hidden: Tensor) -> Tensor:
        if self.one_mask:
            return attention_bias(mask)
        visible = mask.bool().repeat(1, hidden.shape[1], 1)
        return (1.0 - visible.to(hidden.dtype)) * HIDDEN

    @staticmethod
    def _causal(layer: nn.Module, x: Tensor) -> Tensor:
        weight, bias = cast(Tensor, layer.weight), cast(Tensor, layer.bias)
        return F.conv1d(F.pad(x, (2, 0)), weight, bias)


def from_unet(unet: UNet, *, one_mask: bool = False) -> UpstreamLike:
    """Return the same function with the same parameters, which it shares with `unet`."""
    return UpstreamLike(unet, one_mask).eval()
