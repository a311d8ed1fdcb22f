"""Known mistakes in estimators that other people implemented or exported.

They were found in public exports and in a benchmark.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from cosybuild.certifying.mistakes.mistake import EPSILON, Mistake, Plant, inputs, parts, swap_class
from cosybuild.certifying.module_copies import sharing_copy
from cosybuild.config.groups.model import Family
from cosybuild.models.cosyvoice.estimator.blocks import FeedForward
from cosybuild.models.cosyvoice.estimator.dit import RotaryFrequencies
from cosybuild.models.cosyvoice.estimator.exportable import ExportableEstimator
from cosybuild.models.cosyvoice.estimator.layers import SelfAttention, TimeEmbedding, rotate
from cosybuild.models.subject import Subject


class RotaryOnEveryHead(SelfAttention):
    """Self-attention with a mistake: it rotates all heads of q and k, not only the first."""

    def _rotated(self, heads: Tensor, angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = super()._rotated(heads, (torch.ones_like(angles[0]), torch.zeros_like(angles[1])))
        return rotate(query, self.swap, angles), rotate(key, self.swap, angles), value


class WithoutRotary(SelfAttention):
    """Self-attention with a mistake: it has no rotary embedding."""

    def _rotated(self, heads: Tensor, angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        return super()._rotated(heads, (torch.ones_like(angles[0]), torch.zeros_like(angles[1])))


class HalfSplit(RotaryFrequencies):
    """Rotary angles with a mistake: the two channels of a pair are half a head apart, not neighbours."""

    def forward(self, length: int, offset: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return cosines and signed sines for pairs (k, k + dim_head / 2); arguments as in the base class."""
        position = torch.arange(length, device=self.inv_freq.device)
        if offset is not None:
            position = position + offset
        angle = position.to(self.inv_freq.dtype).unsqueeze(1) * self.inv_freq.repeat(2)
        return angle.cos(), angle.sin() * self.sign.sort().values


class CosineFirst(TimeEmbedding):
    """A time embedding with a mistake: the cosines come before the sines."""

    def forward(self, t: Tensor) -> Tensor:
        """Return the embedding (B, hidden) of times (B,), computed from the cosines followed by the sines."""
        phase = self.phase(t)
        first, second = (self.get_submodule(name) for name in self._names)
        result: Tensor = second(nn.functional.silu(first(torch.cat((phase.cos(), phase.sin()), dim=-1))))
        return result


def estimator_mistakes(subject: Subject) -> Iterator[Mistake]:
    """Yield the mistakes that an estimator of this version and variant can have."""
    yield from _OF_INPUTS
    yield Mistake(
        "sine and cosine exchanged", "the time embedding has cosines before sines",
        "The embedding of t is sin, then cos, of 1000 t.", swap_class(TimeEmbedding, CosineFirst),
    )  # fmt: skip
    if subject.family is Family.cosyvoice3:
        yield from _OF_ROTARY
        yield Mistake(
            EPSILON, "the layer norms have the epsilon 1e-5",
            "Layer norms of version 3 have the epsilon 1e-6.", parts(nn.LayerNorm, _epsilon(1e-5)),
        )  # fmt: skip
    else:
        yield Mistake(
            "GELU approximated", "GELU has its tanh form", "GELU is exact in versions 1 and 2 (act_fn of the yaml).",
            parts(FeedForward, _tanh),
        )  # fmt: skip
        yield Mistake(
            EPSILON, "the layer norms have the epsilon 1e-6",
            "Norms of versions 1 and 2 have the epsilon 1e-5.", parts(nn.LayerNorm, _epsilon(1e-6)),
        )  # fmt: skip
    if subject.streaming:
        own = int(subject.hyperparameters["static_chunk_size"])
        for chunk in dict.fromkeys((own // 2, 2 * own, 25, 50, 100, own - 1, own + 1)):
            if chunk > 0 and chunk != own:
                yield Mistake(
                    "chunk length", f"a chunk of the streaming mask has {chunk} frames",
                    f"A chunk has {own} frames (static_chunk_size of the yaml).", _chunk(chunk),
                )  # fmt: skip


def other_variant(streaming: bool) -> Mistake:
    """Return the mistake that a file has the wrong attention variant.

    Args:
        streaming: the expected variant: True for the streaming mask, False for full attention.
    """
    wrong, right = ("full attention", "the streaming mask") if streaming else ("the streaming mask", "full attention")
    name = "full attention" if streaming else "streaming mask"
    return Mistake(
        name, f"it has {wrong}, where {right} is expected", "Export with streaming="
        f"{streaming}, or name the file for its variant.", _streaming(not streaming),
    )  # fmt: skip


def _streaming(value: bool) -> Plant:
    def change(part: ExportableEstimator) -> None:
        part.streaming = value

    return parts(ExportableEstimator, change)


def _chunk(frames: int) -> Plant:
    def change(part: ExportableEstimator) -> None:
        part.estimator.chunk = frames  # type: ignore[assignment]  # a plain attribute

    return parts(ExportableEstimator, change)


def _epsilon(value: float):  # type: ignore[no-untyped-def]  # of nn.LayerNorm
    def change(part: nn.LayerNorm) -> None:
        part.eps = value

    return change


def _tanh(part: FeedForward) -> None:
    part.approximate = "tanh"


def _half_split(module: nn.Module, *_: object) -> nn.Module:
    copy = sharing_copy(module)
    for part in copy.modules():
        if isinstance(part, RotaryFrequencies):
            part.__class__ = HalfSplit
        elif isinstance(part, SelfAttention) and part.rotary:
            count = part.dim_head
            part.swap = (torch.arange(count) + count // 2) % count
    return copy


def _first_row(values: Tensor) -> Tensor:
    return values[:1].expand(values.shape[0], *[-1] * (values.dim() - 1))


_CONDITIONS = ("mu", "spks", "cond")

_OF_INPUTS = (
    Mistake("mask ignored", "the mask has no effect: padded frames are treated as valid",
            "Attention hides masked frames, and convolutions read zeros there.",
            inputs(lambda given: {"mask": torch.ones_like(given["mask"])})),
    Mistake("mu and cond exchanged", "mu and cond are exchanged",
            "The order of the channels is x, mu, spks, cond in versions 1 and 2, and x, cond, mu, spks in version 3.",
            inputs(lambda given: {"mu": given["cond"], "cond": given["mu"]})),
    Mistake("x and mu exchanged", "x and mu are exchanged", "The inputs are x, mask, mu, t, spks, cond.",
            inputs(lambda given: {"x": given["mu"], "mu": given["x"]})),
    Mistake("x and cond exchanged", "x and cond are exchanged", "The inputs are x, mask, mu, t, spks, cond.",
            inputs(lambda given: {"x": given["cond"], "cond": given["x"]})),
    Mistake("time not scaled", "t is embedded without the factor 1000",
            "The phase of the time embedding is 1000 t times each frequency.",
            inputs(lambda given: {"t": given["t"] / 1000})),
    Mistake("time reversed", "t runs from 1 to 0", "t is 0 at the noise and 1 at the mel.",
            inputs(lambda given: {"t": 1 - given["t"]})),
    Mistake("one time for all rows", "all rows have the t of row 0", "t has one value for each row.",
            inputs(lambda given: {"t": _first_row(given["t"])})),
    Mistake("both guidance rows conditioned", "mu, spks and cond of row 0 are used for every row",
            "In a guidance pair, row 1 has mu, spks and cond zero.",
            inputs(lambda given: {name: _first_row(given[name]) for name in _CONDITIONS})),
    Mistake("one speaker for all rows", "spks of row 0 is used for every row", "spks has one vector for each row.",
            inputs(lambda given: {"spks": _first_row(given["spks"])})),
    Mistake("conditions of another row", "each row has mu, spks and cond of the next row",
            "Row i of every input belongs to row i of the output.",
            inputs(lambda given: {name: given[name].roll(1, 0) for name in _CONDITIONS})),
    Mistake("one mask for all rows", "the mask of row 0 is used for every row", "mask has one row for each row of x.",
            inputs(lambda given: {"mask": _first_row(given["mask"])})),
    Mistake("speaker ignored", "spks has no effect", "spks is repeated for each frame and joined to the channels.",
            inputs(lambda given: {"spks": torch.zeros_like(given["spks"])})),
    Mistake("prompt ignored", "cond has no effect", "cond is joined to the channels of x.",
            inputs(lambda given: {"cond": torch.zeros_like(given["cond"])})),
)  # fmt: skip

_OF_ROTARY = (
    Mistake("rotary on every head", "the rotary embedding rotates every head",
            "Version 3 rotates the first head of q and k only.", swap_class(SelfAttention, RotaryOnEveryHead)),
    Mistake("rotary left out", "there is no rotary embedding", "Version 3 rotates the first head of q and k.",
            swap_class(SelfAttention, WithoutRotary)),
    Mistake("rotary pairs", "the pairs of the rotary embedding are half a head apart",
            "The pairs are neighbouring channels.", _half_split),
)  # fmt: skip
