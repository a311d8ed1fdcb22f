"""Layers that the estimators share: time embedding and attention."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator.operators import attention, attention_is_one
from cosybuild.models.cosyvoice.estimator.past import Past


def sinusoid_frequencies(half: int) -> Tensor:
    """Return exp(-ln(10000) / (half - 1) * k) for k < half, rounded to float32.

    The exponents are float32, as in CosyVoice. Their exponentials are computed in float64, because float32 exponentials
    differ between processors in the last place. Such a difference would change a phase of 1000 rad by 6e-5 rad, and the
    graphs of one model would differ between machines.
    """
    # The device is explicit: a module that is built on the meta device needs these values, too.
    exponents = torch.arange(half, device="cpu", dtype=torch.float32) * -(math.log(10000) / (half - 1))
    return torch.exp(exponents.double()).float()


class TimeEmbedding(nn.Module):
    """The sine and cosine of 1000 * t, then a linear layer, SiLU and a linear layer.

    Args:
        dim: width of the sinusoid, even.
        hidden: width of the result.
        names: names of the two linear layers in the state dict.
    """

    frequencies: Tensor

    def __init__(self, dim: int, hidden: int, names: tuple[str, str]) -> None:
        super().__init__()
        self.register_buffer("frequencies", sinusoid_frequencies(dim // 2), persistent=False)
        self._names = names
        self.add_module(names[0], nn.Linear(dim, hidden))
        self.add_module(names[1], nn.Linear(hidden, hidden))

    def forward(self, t: Tensor) -> Tensor:
        """Map times (B,) in 0..1 to embeddings (B, hidden)."""
        phase = self.phase(t)
        first, second = (self.get_submodule(name) for name in self._names)
        result: Tensor = second(F.silu(first(torch.cat((phase.sin(), phase.cos()), dim=-1))))
        return result

    def phase(self, t: Tensor) -> Tensor:
        """Map times (B,) in 0..1 to phases (B, dim / 2) in radians, at most 1000."""
        return (t * 1000.0).unsqueeze(1) * self.frequencies


# Up to this many frames, a CPU computes plain attention (two products and a softmax) also outside exports. It rounds
# as the exported graph does, and its score matrix is small.
_PLAIN_FRAMES = 512


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float | None = None) -> Tensor:
    """Return softmax(scale * query key^T + bias) value, (B, heads, T, dim_head).

    An export writes plain attention (two products and a softmax), because runtimes fuse it themselves, and because
    TensorRT-RTX has no float32 kernel for the ONNX operator `Attention`. Within `operators.one_attention_operator` it
    writes that operator. Outside exports, long inputs use torch's function, which avoids a (T, T) matrix.

    Args:
        query: (B, heads, T, dim_head).
        key, value: (B, heads, S + T, dim_head), where S is the number of cached frames, or 0.
        bias: broadcasts to (B, heads, T, S + T).
        scale: None if the query is already scaled.
    """
    if attention_is_one():
        return attention(query, key, value, bias, 1.0 if scale is None else scale)
    if torch.onnx.is_in_onnx_export() or (query.shape[2] <= _PLAIN_FRAMES and query.device.type == "cpu"):
        scores = torch.matmul(query, key.transpose(2, 3))
        if scale is not None:
            scores = scores * scale
        return torch.matmul(torch.softmax(scores + bias, dim=-1), value)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0 if scale is None else scale)


class SelfAttention(nn.Module):
    """Multi-head self-attention over frames.

    Args:
        dim: channels of input and output.
        heads, dim_head: number of heads, and channels of each.
        bias: True if the projections to q, k and v have a bias.
        rotary: True to rotate the first head of q and k by position (see `rotate`).
    """

    swap: Tensor

    def __init__(self, dim: int, heads: int, dim_head: int, *, bias: bool, rotary: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.dim_head = dim_head
        self.scale = dim_head**-0.5
        self.rotary = rotary
        inner = heads * dim_head
        self.to_q = nn.Linear(dim, inner, bias=bias)
        self.to_k = nn.Linear(dim, inner, bias=bias)
        self.to_v = nn.Linear(dim, inner, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(inner, dim)])
        self.to_qkv: nn.Linear | None = None
        if rotary:
            # Neighbours are exchanged: 1, 0, 3, 2, ...
            self.register_buffer("swap", torch.arange(dim_head, device="cpu") ^ 1, persistent=False)

    def forward(
        self,
        x: Tensor,
        batch: int,
        bias: Tensor,
        angles: tuple[Tensor, Tensor] | None = None,
        past: Past | None = None,
    ) -> Tensor:
        """Return the attention output of every frame, in the shape of `x`.

        Args:
            x: (B, T, dim) or (B * T, dim).
            batch: B.
            bias: see `attend`.
            angles: see `rotate`; None without rotary attention.
            past: the caches of earlier calls; None without caches.
        """
        # q, k and v share one reshape and one transpose; `onnxgraph.heads` rearranges them for TensorRT.
        heads = self._project(x).reshape(batch, -1, 3 * self.heads, self.dim_head).transpose(1, 2)
        if angles is None:
            query, key, value = torch.split(heads, self.heads, dim=1)
        else:
            query, key, value = self._rotated(heads, angles)
        if past is not None:
            key, value = past.with_history(key, value)
        scale = self.scale if self.to_qkv is None else None
        mixed = attend(query, key, value, bias, scale).transpose(1, 2)
        shape = (-1,) if x.dim() == 2 else (batch, -1)
        result: Tensor = self.to_out[0](mixed.reshape(*shape, self.heads * self.dim_head))
        return result

    @torch.no_grad()
    def fuse_for_export(self) -> None:
        """Replace the three projections and the scale by one linear layer. This changes the names in the state dict."""
        if self.to_qkv is not None:
            return
        fused = nn.Linear(self.to_q.in_features, 3 * self.to_q.out_features, self.to_q.bias is not None, device="meta")
        query, key, value = self._projections()
        weight = self._joined(query.weight * self.scale, key.weight, value.weight)
        fused.weight = nn.Parameter(weight, requires_grad=False)
        if query.bias is not None:
            bias = self._joined(query.bias * self.scale, key.bias, value.bias)
            fused.bias = nn.Parameter(bias, requires_grad=False)
        self.to_qkv = fused
        del self.to_q, self.to_k, self.to_v

    def _projections(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        return self.to_q, self.to_k, self.to_v

    def _project(self, x: Tensor) -> Tensor:
        if self.to_qkv is not None:
            result: Tensor = self.to_qkv(x)
            return result
        query, key, value = (projection(x).movedim(-1, 0) for projection in self._projections())
        return self._joined(query, key, value).movedim(0, -1).contiguous()

    def _joined(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return one tensor whose first axis holds the heads of q, k and v.

        With rotary attention the two rotated heads come first, so that they are one slice.
        """
        if not self.rotary:
            return torch.cat((query, key, value))
        first = self.dim_head
        return torch.cat((query[:first], key[:first], query[first:], key[first:], value))

    def _rotated(self, heads: Tensor, angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        if self.heads == 1:
            turning, value = torch.split(heads, [2, 1], dim=1)
            query, key = torch.split(rotate(turning, self.swap, angles), 1, dim=1)
            return query, key, value
        rest = self.heads - 1
        turning, query, key, value = torch.split(heads, [2, rest, rest, self.heads], dim=1)
        first_query, first_key = torch.split(rotate(turning, self.swap, angles), 1, dim=1)
        return torch.cat((first_query, query), dim=1), torch.cat((first_key, key), dim=1), value


def rotate(x: Tensor, swap: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate each pair of neighbouring channels by its angle.

    Args:
        x: (..., T, dim_head).
        swap: the indices 1, 0, 3, 2, ...
        angles: cosine and signed sine, each (T, dim_head); the sine is negative in each pair's first channel.
    """
    cosine, sine = angles
    return x * cosine + x.index_select(-1, swap) * sine
