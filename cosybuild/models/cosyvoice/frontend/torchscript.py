"""The encoders as TorchScript with the signatures of CosyVoice's encoders, so that its `load_jit` can load them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator.mask import HIDDEN
from cosybuild.models.cosyvoice.estimator.operators import plain_operators
from cosybuild.models.cosyvoice.frontend.conformer import ConformerEncoder
from cosybuild.models.cosyvoice.frontend.frontend import InterpolatingFrontEnd, UpsamplingFrontEnd
from cosybuild.models.cosyvoice.frontend.upsampling import UpsamplingEncoder

LENGTHS = (5, 26, 103)
"""The lengths, in tokens, of the utterances on which a TorchScript file is compared with PyTorch.

One of them is shorter than a chunk of 25 tokens.
"""

_EXAMPLE = 520
"""The number of tokens of the traced example; at this length, attention is one torch function with no score matrix."""


@dataclass(frozen=True)
class Call:
    """The arguments of one call that CosyVoice makes of its encoder, and the output of the PyTorch module.

    Attributes:
        name: a name for messages.
        inputs: positional arguments; floating-point tensors are float32.
        options: keyword arguments.
        expected: the output of the PyTorch module, (1, T, width), float32.
    """

    name: str
    inputs: tuple[Tensor, ...]
    options: Mapping[str, Any]
    expected: Tensor

    def snr_db(self, encoder: torch.jit.ScriptModule, half: bool) -> float:
        """Call a TorchScript encoder and return the signal-to-noise ratio of its output in dB.

        The result is minus infinity if the output or the mask has another shape, or if the mask is not True everywhere.
        It is infinity if the output equals `expected`.

        Args:
            encoder: the module loaded from a TorchScript file.
            half: True if the module computes in float16.
        """

        def typed(value: Any) -> Any:
            return value.half() if half and isinstance(value, Tensor) and value.is_floating_point() else value

        # Without this, torch compiles code for each shape, which takes longer than the calls.
        with torch.no_grad(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]  # it is there
            out, mask = encoder(*map(typed, self.inputs), **{name: typed(v) for name, v in self.options.items()})
        if out.shape != self.expected.shape or mask.shape != (1, 1, out.shape[1]) or not bool(mask.all()):
            return -math.inf
        wanted = self.expected.double()
        noise = float((out.double() - wanted).square().sum())
        return math.inf if noise == 0 else 10 * math.log10(float(wanted.square().sum()) / noise)


def scripted_encoder(front_end: nn.Module, chunk: int, dtype: torch.dtype) -> torch.jit.ScriptModule:
    """Return the encoder of a front end of version 1 or 2 as TorchScript, in float32 or float16.

    The layers are traced. The code for lengths, masks and positions is scripted, because a trace stores the device on
    which it was made, and CosyVoice loads the file onto a GPU. The encoder of `front_end` is converted to `dtype` in
    place.

    Args:
        front_end: an `InterpolatingFrontEnd` or an `UpsamplingFrontEnd`.
        chunk: tokens of a chunk for streaming attention; version 1 ignores it.
        dtype: float32 or float16.
    """
    encoder = front_end.encoder
    assert isinstance(encoder, ConformerEncoder | UpsamplingEncoder)
    # The frequencies are copied before the encoder becomes float16, because CosyVoice computes positions in float32.
    positions = _Positions(encoder.positions.frequencies.clone())
    encoder.to(dtype)
    width = int(encoder.embed.out[0].in_features)  # type: ignore[arg-type]  # of a Linear
    x = torch.zeros(1, _EXAMPLE, width, dtype=dtype)

    def given(length: int) -> tuple[Tensor, Tensor]:
        return positions(torch.zeros(1, length, 1, dtype=dtype)), torch.zeros(1, 1, length, length, dtype=dtype)

    with torch.no_grad(), plain_operators(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript, but CosyVoice loads it
        if isinstance(encoder, ConformerEncoder):
            core = _traced(_Layers(encoder), (x, *given(_EXAMPLE)))
            return torch.jit.script(_Encoder(core, positions).eval())
        context = torch.zeros(1, 3, width, dtype=dtype)
        inputs = (x, context, *given(_EXAMPLE), *given(encoder.ratio * _EXAMPLE))
        core = _traced(_UpsamplingLayers(encoder), inputs)
        return torch.jit.script(_StreamingEncoder(core, positions, chunk, encoder.ratio).eval())


def _traced(module: nn.Module, inputs: tuple[Tensor, ...]) -> nn.Module:
    result: nn.Module = torch.jit.trace(module, inputs, check_trace=False)  # type: ignore[no-untyped-call]  # no types
    return result


class _Layers(nn.Module):
    """The layers of CosyVoice 1's encoder, with the positions and the attention bias as inputs."""

    def __init__(self, encoder: ConformerEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, xs: Tensor, positions: Tensor, bias: Tensor) -> Tensor:
        x = self.encoder.embed(xs)
        for layer in self.encoder.encoders:
            x = layer(x, positions, bias)
        result: Tensor = self.encoder.after_norm(x)
        return result


class _UpsamplingLayers(nn.Module):
    """The layers of CosyVoice 2's encoder, with positions and attention biases for tokens and for frames as inputs."""

    def __init__(self, encoder: UpsamplingEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(
        self, xs: Tensor, context: Tensor, positions: Tensor, bias: Tensor, up_positions: Tensor, up_bias: Tensor
    ) -> Tensor:
        encoder = self.encoder
        x = encoder.pre_lookahead_layer(encoder.embed(torch.cat((xs, context), dim=1)), xs.shape[1])
        for layer in encoder.encoders:
            x = layer(x, positions, bias)
        x = encoder.up_embed(encoder.up_layer(x))
        for layer in encoder.up_encoders:
            x = layer(x, up_positions, up_bias)
        result: Tensor = encoder.after_norm(x)
        return result


class _Positions(nn.Module):
    """The same computation as `RelativePositions`. TorchScript cannot read the annotations of that class."""

    def __init__(self, frequencies: Tensor) -> None:
        super().__init__()
        self.frequencies: Tensor
        self.register_buffer("frequencies", frequencies)

    def forward(self, x: Tensor) -> Tensor:
        length = x.size(1)
        distances = torch.arange(length - 1, -length - 1, -1, device=x.device).to(torch.float32)
        phase = (distances.unsqueeze(1) * self.frequencies).to(x.dtype)
        return torch.stack((phase.sin(), phase.cos()), dim=-1).flatten(1).unsqueeze(0)


class _Encoder(nn.Module):
    """The encoder of version 1, with the signature of CosyVoice's class `ConformerEncoder`."""

    def __init__(self, core: nn.Module, positions: nn.Module) -> None:
        super().__init__()
        self.core, self.positions = core, positions

    def forward(
        self, xs: Tensor, xs_lens: Tensor, decoding_chunk_size: int = 0, num_decoding_left_chunks: int = -1
    ) -> tuple[Tensor, Tensor]:
        """Return the encoded tokens (1, T, width) and the mask (1, 1, T) of the valid ones."""
        length = xs.size(1)
        bias = torch.zeros(1, 1, length, length, dtype=xs.dtype, device=xs.device)
        return self.core(xs, self.positions(xs), bias), _valid(xs_lens, length)


class _StreamingEncoder(nn.Module):
    """The encoder of version 2, with the signature of CosyVoice's class `UpsampleConformerEncoder`."""

    def __init__(self, core: nn.Module, positions: nn.Module, chunk: int, ratio: int) -> None:
        super().__init__()
        self.core, self.positions = core, positions
        self.chunk, self.ratio, self.hidden = chunk, ratio, HIDDEN

    def forward(
        self,
        xs: Tensor,
        xs_lens: Tensor,
        context: Tensor = torch.zeros(0, 0, 0),  # noqa: B008 - TorchScript keeps it as a constant
        decoding_chunk_size: int = 0,
        num_decoding_left_chunks: int = -1,
        streaming: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Return the encoded frames (1, ratio * T, width) and the mask (1, 1, ratio * T) of the valid ones.

        Args:
            xs: (1, T, width), without look-ahead tokens.
            xs_lens: (1,), the number of tokens; it may include the look-ahead tokens.
            context: the look-ahead tokens, (1, 3, width); empty in the last call.
            decoding_chunk_size, num_decoding_left_chunks: these have no effect, as in CosyVoice's inference.
            streaming: True if a token sees only its own chunk and earlier chunks.
        """
        length = xs.size(1)
        frames = length * self.ratio
        ahead = context if context.size(1) > 0 else xs[:, :0]
        bias = self.hidden * _hidden(length, self.chunk if streaming else length, xs)
        up_bias = self.hidden * _hidden(frames, self.chunk * self.ratio if streaming else frames, xs)
        up = xs[:, :, :1].repeat(1, self.ratio, 1)
        out = self.core(xs, ahead, self.positions(xs), bias, self.positions(up), up_bias)
        return out, _valid(xs_lens * self.ratio, frames)


def _hidden(length: int, chunk: int, like: Tensor) -> Tensor:
    """Return -1 where a key is in a later chunk than the query, else 0: (1, 1, length, length)."""
    index = torch.div(torch.arange(length, device=like.device), chunk, rounding_mode="floor")
    visible = (index.unsqueeze(0) <= index.unsqueeze(1)).to(like.dtype)
    return (visible - 1.0).unsqueeze(0).unsqueeze(0)


def _valid(lengths: Tensor, frames: int) -> Tensor:
    return (torch.arange(frames, device=lengths.device).unsqueeze(0) < lengths.unsqueeze(1)).unsqueeze(1)


def upstream_calls(front_end: nn.Module, chunk: int, seed: int, lengths: Sequence[int] = LENGTHS) -> Iterator[Call]:
    """Yield the encoder calls that CosyVoice's `flow.inference` makes, each with the PyTorch module's float32 output.

    Args:
        front_end: an `InterpolatingFrontEnd` or an `UpsamplingFrontEnd` in float32.
        chunk: tokens of a chunk for streaming attention; version 1 ignores it.
        seed: seed of the random token ids.
        lengths: numbers of tokens, including those of the prompt.
    """
    assert isinstance(front_end, InterpolatingFrontEnd | UpsamplingFrontEnd)
    numbers = torch.Generator().manual_seed(seed)
    for length in lengths:
        ids = torch.randint(front_end.vocab_size, (1, length), generator=numbers)
        xs, xs_lens = front_end.embedded(ids), torch.tensor([length], dtype=torch.int32)
        if isinstance(front_end, InterpolatingFrontEnd):
            yield Call(f"{length} tokens", (xs, xs_lens), {}, front_end.encoder(xs))
            continue
        ahead = front_end.encoder.pre_lookahead_layer.ahead
        for streaming in (False, True):
            front_end.encoder.chunk = chunk if streaming else None
            form = f"{length} tokens, streaming={streaming}"
            yield Call(f"{form}, the last call", (xs, xs_lens), {"streaming": streaming}, front_end.encoder(xs, length))
            # CosyVoice includes the look-ahead tokens in the length.
            inputs, options = (xs[:, :-ahead], xs_lens), {"context": xs[:, -ahead:], "streaming": streaming}
            yield Call(f"{form}, not the last call", inputs, options, front_end.encoder(xs, length - ahead))
