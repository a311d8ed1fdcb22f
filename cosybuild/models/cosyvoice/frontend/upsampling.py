"""The encoder of CosyVoice 2: look-ahead, conformer layers over tokens, up-sampling, conformer layers over frames."""

from __future__ import annotations

from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator.operators import causal_convolution
from cosybuild.models.cosyvoice.estimator.past import Past
from cosybuild.models.cosyvoice.frontend.conformer import InputLayer, chunk_bias, layers
from cosybuild.models.cosyvoice.frontend.hyperparameters import EPSILON
from cosybuild.models.cosyvoice.frontend.lookahead import LookAhead
from cosybuild.models.cosyvoice.frontend.positions import RelativePositions

UPSAMPLING_TOKENS = 2
"""The tokens before a token that the convolution of `Upsampling` reads."""


class Upsampling(nn.Module):
    """Repetition of every token, then a causal convolution with a kernel of 2 * `ratio` + 1 frames.

    Args:
        dim: channels of input and output.
        ratio: frames per token.
    """

    def __init__(self, dim: int, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.conv = nn.Conv1d(dim, dim, kernel_size=2 * ratio + 1)

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """Map (B, T, dim) to (B, ratio * T, dim); `past` has the two tokens before x, which the convolution reads."""
        assert self.conv.bias is not None
        if past is not None:
            joined = past.with_context(x.transpose(1, 2), UPSAMPLING_TOKENS + 1).transpose(1, 2)
            made: Tensor = self.conv(repeated(joined, self.ratio).transpose(1, 2))
            return made.transpose(1, 2)
        frames = causal_convolution(repeated(x, self.ratio).transpose(1, 2), self.conv.weight, self.conv.bias)
        return frames.transpose(1, 2)


class UpsamplingEncoder(nn.Module):
    """The conformer encoder of CosyVoice 2, which converts tokens to `ratio` times as many frames.

    Args:
        input_size: channels of the input.
        output_size: channels of the output.
        attention_heads: number of attention heads of every layer.
        linear_units: channels inside the feed-forward networks.
        num_blocks: number of conformer layers before the up-sampling.
        up_blocks: number of conformer layers after the up-sampling.
        ratio: frames per token.
        ahead: number of following tokens that the look-ahead layer reads for each token.
        chunk: tokens of a chunk for streaming attention; None for full attention.
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        attention_heads: int,
        linear_units: int,
        num_blocks: int,
        up_blocks: int,
        ratio: int,
        ahead: int,
        chunk: int | None,
    ) -> None:
        super().__init__()
        self.chunk = chunk
        self.ratio = ratio
        self.embed = InputLayer(input_size, output_size)
        self.positions = RelativePositions(output_size)
        self.pre_lookahead_layer = LookAhead(output_size, output_size, ahead)
        self.encoders = layers(num_blocks, output_size, attention_heads, linear_units)
        self.up_layer = Upsampling(output_size, ratio)
        self.up_embed = InputLayer(output_size, output_size)
        self.up_encoders = layers(up_blocks, output_size, attention_heads, linear_units)
        self.after_norm = nn.LayerNorm(output_size, eps=EPSILON)

    def forward(self, x: Tensor, count: int, past: Past | None = None) -> Tensor:
        """Map `count` tokens and A look-ahead tokens to frames.

        Args:
            x: the embedded tokens, (B, count + A, input_size); see `LookAhead.forward`.
            count: number of tokens without the look-ahead tokens.
            past: the state after the tokens before x; None at the begin of an utterance.

        Returns:
            (B, ratio * count, output_size).
        """
        x = self.pre_lookahead_layer(self.embed(x), count, past)
        x = self._attended(self.encoders, x, self.chunk, past, 1)
        x = self.up_embed(self.up_layer(x, past))
        chunk = None if self.chunk is None else self.chunk * self.ratio
        x = self._attended(self.up_encoders, x, chunk, past, self.ratio)
        result: Tensor = self.after_norm(x)
        return result

    def _attended(self, stack: nn.ModuleList, x: Tensor, chunk: int | None, past: Past | None, times: int) -> Tensor:
        if past is None:
            positions, bias = self.positions(x), chunk_bias(x, chunk)
        else:
            earlier = past.earlier(times)
            positions, bias = self.positions(x, earlier), chunk_bias(x, chunk, earlier)
        for layer in stack:
            x = layer(x, positions, bias, past, times)
        return x


def repeated(x: Tensor, times: int) -> Tensor:
    """Repeat every token `times` times in a row: (B, T, dim) -> (B, times * T, dim)."""
    return x.unsqueeze(2).expand(-1, -1, times, -1).flatten(1, 2)
