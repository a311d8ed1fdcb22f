"""The diffusion-transformer estimator of CosyVoice 3."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator.blocks import CausalConv1d
from cosybuild.models.cosyvoice.estimator.layers import SelfAttention, TimeEmbedding
from cosybuild.models.cosyvoice.estimator.mask import attention_bias, kept_frames
from cosybuild.models.cosyvoice.estimator.operators import mish
from cosybuild.models.cosyvoice.estimator.past import Past
from cosybuild.models.cosyvoice.families import POSITION_GROUPS, POSITION_KERNEL

_SINUSOID = 256
_EPSILON = 1e-6


class InputEmbedding(nn.Module):
    """The projection of the joined inputs to the width of the transformer, plus a causal positional convolution."""

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim_in, dim)
        position = nn.Module()
        for name in ("conv1", "conv2"):
            position.add_module(name, nn.ModuleList([CausalConv1d(dim, dim, POSITION_KERNEL, groups=POSITION_GROUPS)]))
        self.conv_pos_embed = position

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """Map (B, T, dim_in) to (B, T, dim)."""
        x = self.proj(x)
        hidden = x.transpose(1, 2)
        for convolution in self.conv_pos_embed.children():
            assert isinstance(convolution, nn.ModuleList)
            hidden = mish(convolution[0](hidden, past))
        return hidden.transpose(1, 2) + x


class Modulation(nn.Module):
    """A linear layer from the time embedding to shifts, scales and gates.

    Args:
        dim: channels of the time embedding and of each result.
        parts: number of results.
    """

    def __init__(self, dim: int, parts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, parts * dim)

    def forward(self, time: Tensor) -> tuple[Tensor, ...]:
        """Map the time embedding (B, dim), to which SiLU was applied, to `parts` tensors (B, 1, dim)."""
        # Use split, not chunk: torch's TorchScript exporter writes a slice for each part of a chunk.
        return torch.split(self.linear(time).unsqueeze(1), self.linear.in_features, dim=2)


class ModulatedNorm(nn.LayerNorm):
    """A layer norm without parameters, followed by a scale and a shift that depend on the time embedding."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=_EPSILON, elementwise_affine=False)

    def modulate(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Return norm(x) * (scale + 1) + shift, (B, T, dim), for x (B, T, dim), scale and shift (B, 1, dim)."""
        result: Tensor = self(x) * (scale + 1.0) + shift
        return result


class FeedForward(nn.Module):
    """A linear layer, GELU approximated by tanh, and a linear layer."""

    def __init__(self, dim: int, mult: float) -> None:
        super().__init__()
        inner = int(dim * mult)
        self.ff = nn.ModuleDict({"0": nn.ModuleList([nn.Linear(dim, inner)]), "2": nn.Linear(inner, dim)})

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, dim) to (B, T, dim)."""
        first, second = self.ff.values()
        assert isinstance(first, nn.ModuleList)
        result: Tensor = second(F.gelu(first[0](x), approximate="tanh"))
        return result


class Block(nn.Module):
    """Self-attention, then a feed-forward network, both as residual branches.

    Each branch begins with a modulated norm and is multiplied by a gate. `Modulation` computes shifts, scales and gates
    from the time embedding.
    """

    def __init__(self, dim: int, heads: int, dim_head: int, mult: float) -> None:
        super().__init__()
        self.norm = ModulatedNorm(dim)
        self.attn_norm = Modulation(dim, 6)
        self.attn = SelfAttention(dim, heads, dim_head, bias=True, rotary=True)
        self.ff = FeedForward(dim, mult)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        batch: int,
        bias: Tensor,
        kept: Tensor,
        angles: tuple[Tensor, Tensor],
        past: Past | None = None,
    ) -> Tensor:
        """Map x (B, T, dim) to (B, T, dim).

        Args:
            x: the frames.
            time: the time embedding after SiLU, (B, dim).
            batch: B.
            bias: the result of `mask.attention_bias`.
            kept: the result of `mask.kept_frames`, (B, T, 1); the attention's result is multiplied by it.
            angles: the result of `RotaryFrequencies`.
            past: the caches of earlier calls, or None.
        """
        shift, scale, gate, ff_shift, ff_scale, ff_gate = self.attn_norm(time)
        attended = self.attn(self.norm.modulate(x, scale, shift), batch, bias, angles, past) * kept
        x = x + gate * attended
        result: Tensor = x + ff_gate * self.ff(self.norm.modulate(x, ff_scale, ff_shift))
        return result


class RotaryFrequencies(nn.Module):
    """The rotary position embedding with base 10000. Its inverse frequencies are part of a checkpoint."""

    inv_freq: Tensor
    sign: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        # -1, 1, -1, 1, ...: the first channel of each pair rotates in the opposite direction
        self.register_buffer("sign", torch.tensor([-1.0, 1.0], device="cpu").repeat(dim // 2), persistent=False)
        self.register_buffer("inv_freq", 1.0 / 10000.0 ** (torch.arange(0, dim, 2).float() / dim))

    def forward(self, length: int, offset: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the cosine and the signed sine of position times frequency, each (T, dim_head).

        The two channels of a pair are neighbours and have the same frequency. The sine of the first one is negated.

        Args:
            length: the number of frames T.
            offset: (1,), integer: the position of the first frame; None for 0.
        """
        position = torch.arange(length, device=self.inv_freq.device)
        if offset is not None:
            # Add integers: their sum is exact in every type that the graph is lowered to.
            position = position + offset
        angle = position.to(self.inv_freq.dtype).unsqueeze(1) * self.inv_freq.repeat_interleave(2)
        return angle.cos(), angle.sin() * self.sign


class DiT(nn.Module):
    """The velocity estimator of CosyVoice 3. Its parameters have the names of CosyVoice's checkpoints.

    Args:
        dim: channels of the hidden state.
        depth: number of transformer blocks.
        heads, dim_head: number of attention heads, and channels of each.
        ff_mult: width of the feed-forward layers divided by `dim`.
        mel_dim, mu_dim, spk_dim: channels of x and cond, of mu, and of spks.
        static_chunk_size: frames of a streaming chunk.
    """

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        heads: int,
        dim_head: int,
        ff_mult: float,
        mel_dim: int,
        mu_dim: int,
        spk_dim: int,
        static_chunk_size: int,
    ) -> None:
        super().__init__()
        self.chunk = static_chunk_size
        self.time_embed = nn.ModuleDict({"time_mlp": TimeEmbedding(_SINUSOID, dim, ("0", "2"))})
        self.input_embed = InputEmbedding(2 * mel_dim + mu_dim + spk_dim, dim)
        self.rotary_embed = RotaryFrequencies(dim_head)
        self.transformer_blocks = nn.ModuleList(Block(dim, heads, dim_head, ff_mult) for _ in range(depth))
        self.norm = ModulatedNorm(dim)
        self.norm_out = Modulation(dim, 2)
        self.proj_out = nn.Linear(dim, mel_dim)

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
        """Return the velocity at time t, (B, mel, T). Masked frames are not set to zero.

        Args:
            x, cond: (B, mel, T).
            mask: (B, 1, T), 1 where a frame is valid, else 0.
            mu: (B, mu, T).
            t: (B,) in 0..1.
            spks: (B, speaker).
            streaming: True if the attention of a frame covers its own chunk and all earlier ones.
            past: the caches of earlier calls (only if streaming); None without caches.
        """
        batch, _, length = x.shape
        time = F.silu(self.time_embed["time_mlp"](t))
        spread = spks.unsqueeze(2).expand(-1, -1, length)
        hidden = self.input_embed(torch.cat((x, cond, mu, spread), dim=1).transpose(1, 2), past)
        chunk = self.chunk if streaming else None
        bias = attention_bias(mask, chunk, None if past is None else past.visible)
        kept = kept_frames(mask)
        angles = self.rotary_embed(length, None if past is None else past.offset)
        for block in self.transformer_blocks:
            hidden = block(hidden, time, batch, bias, kept, angles, past)
        scale, shift = self.norm_out(time)
        result: Tensor = self.proj_out(self.norm.modulate(hidden, scale, shift))
        return result.transpose(1, 2)
