"""Known mistakes in front ends that other people implemented or exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cosybuild.certifying.mistakes.mistake import (
    EPSILON,
    Mistake,
    Plant,
    Tensors,
    inputs,
    outputs,
    parts,
    swap_class,
)
from cosybuild.certifying.module_copies import sharing_copy
from cosybuild.config.groups.model import Family
from cosybuild.models.cosyvoice.estimator.past import Past
from cosybuild.models.cosyvoice.frontend.conformer import InputLayer
from cosybuild.models.cosyvoice.frontend.hyperparameters import EPSILON as OTHER_EPSILON
from cosybuild.models.cosyvoice.frontend.hyperparameters import LAYER_EPSILON
from cosybuild.models.cosyvoice.frontend.lookahead import LookAhead
from cosybuild.models.cosyvoice.frontend.positions import RelativePositions
from cosybuild.models.cosyvoice.frontend.upsampling import UpsamplingEncoder
from cosybuild.models.subject import Subject


class _Shifted(RelativePositions):
    """Relative positions with a mistake: every distance has the same constant error.

    Attributes:
        by: the error, which is added to every distance.
    """

    by = 0

    def forward(self, x: Tensor, earlier: int | None = None) -> Tensor:
        """Return the sinusoids of the distances plus `by`; shapes as in the base class."""
        length = x.shape[1]
        distances = torch.arange((earlier or 0) + length - 1, -length - 1, -1, device=x.device) + self.by
        phase = (distances.to(torch.float32).unsqueeze(1) * self.frequencies.to(torch.float32)).to(x.dtype)
        return torch.stack((phase.sin(), phase.cos()), dim=-1).flatten(1).unsqueeze(0)


class OneNearer(_Shifted):
    """Relative positions with a mistake: every distance is too small by one."""

    by = -1


class OneFarther(_Shifted):
    """Relative positions with a mistake: every distance is too large by one."""

    by = 1


class CosineFirst(RelativePositions):
    """Relative positions with a mistake: sine and cosine of each pair are exchanged."""

    def forward(self, x: Tensor, earlier: int | None = None) -> Tensor:
        """Return the sinusoids with each pair (sine, cosine) exchanged; shapes as in the base class."""
        right = super().forward(x, earlier)
        pairs = right.reshape(*right.shape[:2], -1, 2)
        return pairs.flip(3).flatten(2)


def front_end_mistakes(subject: Subject) -> Iterator[Mistake]:
    """Yield the mistakes that a front end of this version and variant can have."""
    yield from _OF_ALL
    if subject.family is not Family.cosyvoice3:
        yield from _OF_CONFORMERS
    if subject.family is not Family.cosyvoice1:
        yield Mistake(
            "look-ahead dropped", "lookahead_token has no effect",
            "The look-ahead layer reads the next 3 tokens; zeros stand there in the last call only.",
            inputs(lambda given: {"lookahead_token": given["lookahead_token"][:, :0]}),
        )  # fmt: skip
        yield Mistake(
            "slope of the look-ahead", "the leaky ReLU of the look-ahead layer has the slope 0.1",
            "Its slope is 0.01, torch's default.", swap_class(LookAhead, SteepLookAhead),
        )  # fmt: skip
    if subject.family is Family.cosyvoice2 and subject.streaming:
        own = int(subject.hyperparameters["chunk_size"])
        for chunk in dict.fromkeys((own // 2, 2 * own, 25, 50, own - 1, own + 1)):
            if chunk > 0 and chunk != own:
                yield Mistake(
                    "chunk length", f"a chunk of the streaming mask has {chunk} tokens",
                    f"A chunk has {own} tokens (static_chunk_size of the yaml).", chunk_of(chunk),
                )  # fmt: skip


class SteepLookAhead(LookAhead):
    """A look-ahead layer with a mistake: the leaky ReLU has the slope 0.1 instead of 0.01."""

    def forward(self, x: Tensor, count: int, past: Past | None = None) -> Tensor:
        """Return the layer's output with 0.1 as the slope of the leaky ReLU; shapes as in the base class."""
        assert past is None  # certify compares networks without caches
        seen = nn.functional.pad(x.transpose(1, 2), (0, self.ahead))[:, :, : count + self.ahead]
        hidden = nn.functional.pad(nn.functional.leaky_relu(self.conv1(seen), 0.1), (2, 0))
        change: Tensor = self.conv2(hidden)
        return x[:, :count] + change.transpose(1, 2)


def chunk_of(tokens: int | None) -> Plant:
    """Return a `Plant` that sets the chunk length of the encoder's attention to `tokens`; None gives full attention."""

    def change(part: UpsamplingEncoder) -> None:
        part.chunk = tokens

    return parts(UpsamplingEncoder, change)


def _epsilons(of: float, value: float) -> Plant:
    def change(part: nn.LayerNorm) -> None:
        if part.eps == of:
            part.eps = value

    return parts(nn.LayerNorm, change)


def _scale(part: InputLayer) -> None:
    part.scale = 1.0


def _speaker(module: Any, given: Tensors, _: Tensors) -> Tensors:
    return {"spks": module.spk_embed_affine_layer(given["embedding"])}


def _exchanged(first: str, second: str) -> Callable[[Tensors], Tensors]:
    return lambda given: {first: given[second], second: given[first]}


def _without_positions(module: nn.Module, *_: Sequence[str]) -> nn.Module:
    copy = sharing_copy(module)
    for part in copy.modules():
        if hasattr(part, "linear_pos"):
            part.linear_pos = _Zero()
    return copy


class _Zero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


_OF_ALL = (
    Mistake("prompt and target exchanged", "token and prompt_token are exchanged",
            "The prompt's tokens come before the target's.", inputs(_exchanged("token", "prompt_token"))),
    Mistake("speaker not normalised", "the speaker vector is not divided by its length",
            "embedding is normalised to length 1 before the affine layer.", outputs(_speaker)),
    Mistake("prompt mel left out", "cond is zero", "cond holds the prompt's mel, then zeros.",
            outputs(lambda _, __, found: {"cond": torch.zeros_like(found["cond"])})),
)  # fmt: skip

_OF_CONFORMERS = (
    Mistake("relative shift", "relative positions are one too large", "The distance of query i and key j is i - j.",
            swap_class(RelativePositions, OneFarther)),
    Mistake("relative shift", "relative positions are one too small", "The distance of query i and key j is i - j.",
            swap_class(RelativePositions, OneNearer)),
    Mistake("sine and cosine exchanged", "even channels of the positions are cosines",
            "Even channels are sines, odd channels cosines.", swap_class(RelativePositions, CosineFirst)),
    Mistake("positions left out", "attention has no relative positions",
            "The scores are the sum of a part from content and one from distance.", _without_positions),
    Mistake("embedding not scaled", "the input layer lacks the factor of the square root of its width",
            "The input layer multiplies by the square root of its width.", parts(InputLayer, _scale)),
    Mistake(EPSILON, f"the norms inside the layers have the epsilon {OTHER_EPSILON:g}",
            f"The two norms of each layer have the epsilon {LAYER_EPSILON:g}.",
            _epsilons(LAYER_EPSILON, OTHER_EPSILON)),
)  # fmt: skip
