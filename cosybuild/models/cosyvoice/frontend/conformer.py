"""The conformer encoder of the front ends: an input layer, and pre-norm layers of attention and feed-forward.

It has the relative positions of the conformer (Gulati et al. 2020), but no convolution module, and one feed-forward
network in each layer instead of two half-step ones.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator.mask import HIDDEN, chunk_visibility
from cosybuild.models.cosyvoice.estimator.past import Past
from cosybuild.models.cosyvoice.frontend.attention import RelativeAttention
from cosybuild.models.cosyvoice.frontend.hyperparameters import EPSILON, LAYER_EPSILON
from cosybuild.models.cosyvoice.frontend.positions import RelativePositions


class InputLayer(nn.Module):
    """A linear layer and a layer norm, whose result is multiplied by sqrt(dim).

    Args:
        width: channels of the input.
        dim: channels of the output.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.scale = math.sqrt(dim)
        self.out = nn.Sequential(nn.Linear(width, dim), nn.LayerNorm(dim, eps=EPSILON))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, width) to (B, T, dim)."""
        result: Tensor = self.out(x) * self.scale
        return result


class FeedForward(nn.Module):
    """A feed-forward network: a linear layer, SiLU, and a linear layer.

    Args:
        dim: channels of input and output.
        hidden: channels between the two layers.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(dim, hidden)
        self.w_2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, dim) to (B, T, dim)."""
        result: Tensor = self.w_2(F.silu(self.w_1(x)))
        return result


class ConformerLayer(nn.Module):
    """Self-attention, then a feed-forward network; each is a residual branch that begins with a layer norm.

    Args:
        dim, heads: arguments of `RelativeAttention`.
        hidden: channels inside the feed-forward network.
    """

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = RelativeAttention(dim, heads)
        self.feed_forward = FeedForward(dim, hidden)
        self.norm_mha = nn.LayerNorm(dim, eps=LAYER_EPSILON)
        self.norm_ff = nn.LayerNorm(dim, eps=LAYER_EPSILON)

    def forward(
        self, x: Tensor, positions: Tensor, bias: Tensor | None, past: Past | None = None, times: int = 1
    ) -> Tensor:
        """Map (B, T, dim) to (B, T, dim); the arguments are those of `RelativeAttention.forward`."""
        x = x + self.self_attn(self.norm_mha(x), positions, bias, past, times)
        result: Tensor = x + self.feed_forward(self.norm_ff(x))
        return result


class ConformerEncoder(nn.Module):
    """The encoder of CosyVoice 1: the input layer, conformer layers with full attention, and a layer norm.

    Args:
        input_size: channels of the input.
        output_size: channels of the output.
        attention_heads: number of attention heads of every layer.
        linear_units: channels inside the feed-forward networks.
        num_blocks: number of conformer layers.
    """

    def __init__(
        self, input_size: int, output_size: int, attention_heads: int, linear_units: int, num_blocks: int
    ) -> None:
        super().__init__()
        self.embed = InputLayer(input_size, output_size)
        self.positions = RelativePositions(output_size)
        self.encoders = layers(num_blocks, output_size, attention_heads, linear_units)
        self.after_norm = nn.LayerNorm(output_size, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, input_size) to (B, T, output_size)."""
        x = self.embed(x)
        positions = self.positions(x)
        for layer in self.encoders:
            x = layer(x, positions, None)
        result: Tensor = self.after_norm(x)
        return result


def layers(count: int, dim: int, heads: int, hidden: int) -> nn.ModuleList:
    """Return `count` conformer layers, each with the arguments `dim`, `heads` and `hidden`."""
    return nn.ModuleList(ConformerLayer(dim, heads, hidden) for _ in range(count))


def chunk_bias(x: Tensor, chunk: int | None, earlier: int | None = None) -> Tensor | None:
    """Return the attention bias that hides later chunks: 0 for a visible key, -30000 for a hidden one.

    Args:
        x: (B, T, dim); gives the number of tokens or frames T, the dtype and the device.
        chunk: the length of a chunk in the unit of T; None for full attention.
        earlier: the number S of positions before those of x, which all queries see; None if there cannot be any.

    Returns:
        (1, 1, T, S + T), row = query, column = key; finite in float16. None for full attention.
    """
    if chunk is None:
        return None
    bias = (chunk_visibility(x.shape[1], chunk, x) - 1.0) * HIDDEN
    if earlier is not None:
        bias = torch.cat((bias.new_zeros((x.shape[1], earlier)), bias), dim=1)
    return bias.unsqueeze(0).unsqueeze(0)
