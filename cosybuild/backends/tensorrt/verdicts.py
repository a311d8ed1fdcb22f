"""Checks of an engine: its inputs and outputs against the contract, its arithmetic type and fused attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cosybuild.backends.tensorrt.inspection import AttentionSize, NetworkFacts, TensorFact
from cosybuild.dtypes import DTYPES
from cosybuild.errors import EngineError
from cosybuild.models.spec import ModelSpec

_LOW = {"fp16": "HALF", "bf16": "BF16", "mixed": "HALF"}
# Upper estimate of the memory of all tensors alive at the same time, as a multiple of the largest one. It is 3.4 in a
# fused engine of CosyVoice 2.
_TENSORS_ALIVE = 8

FUSED, UNFUSED, UNDECIDED = "fused", "not fused", "too small to tell"


@dataclass(frozen=True)
class AttentionVerdict:
    """The decision whether attention matrices of one size are fused.

    Attributes:
        size: the size of the matrices.
        verdict: `FUSED`, `UNFUSED` or `UNDECIDED`.
        activation_bytes: the engine's activation memory in bytes, in the same profile.
    """

    size: AttentionSize
    verdict: str
    activation_bytes: int

    def as_plain(self) -> dict[str, str | int | list[int]]:
        """Return the decision as plain data for the report."""
        return {
            "shape": list(self.size.shape),
            "layers": self.size.count,
            "matrix_bytes": self.size.bytes,
            "activation_bytes": self.activation_bytes,
            "verdict": self.verdict,
        }


def is_low(precision: str) -> bool:
    """Return True if the precision computes most operations in a type smaller than fp32."""
    return precision in _LOW


def check_tensors(facts: NetworkFacts, spec: ModelSpec, dtype: str) -> None:
    """Check inputs and outputs against the contract: names, order, shapes, and one floating-point type for all.

    Args:
        facts: facts of the parsed network.
        spec: the model's specification.
        dtype: the type that every floating-point input and output must have: `float32`, `float16` or `bfloat16`.

    Raises:
        EngineError: an input or output differs; the message names the first one, with the found and the expected value.
    """
    expected = [
        TensorFact(
            tensor.name,
            mode,
            DTYPES[dtype if "float" in tensor.dtype else tensor.dtype].tensorrt,
            tuple(-1 if isinstance(dim, str) else dim for dim in tensor.shape),
        )
        for mode, tensors in (("input", spec.inputs), ("output", spec.outputs))
        for tensor in tensors
    ]
    names, found = [t.name for t in expected], [t.name for t in facts.tensors]
    if names != found:
        raise EngineError(
            f"the engine would bind {', '.join(found)}; the runtime binds {', '.join(names)}, by position.",
            hint="Next: export the graph again; its inputs and outputs must have the order of the model.",
        )
    for want, got in zip(expected, facts.tensors, strict=True):
        # The network may derive an output axis as dynamic (-1) that is fixed in the specification.
        vague = want.mode == "output" and all(g in (w, -1) for w, g in zip(want.shape, got.shape, strict=False))
        same_shape = got.shape == want.shape or (vague and len(got.shape) == len(want.shape))
        if got.dtype != want.dtype or not same_shape:
            raise EngineError(
                f"the engine's {got.mode} '{got.name}' is {got.dtype} {got.shape}; "
                f"{want.dtype} {want.shape} is expected, because the runtime passes raw pointers without a check.",
                hint="Next: precision.io=match gives inputs and outputs the type of the engine; keep leaves them in "
                "float32.",
            )


def judge_attention(facts: NetworkFacts, activation_bytes: Sequence[int]) -> tuple[AttentionVerdict, ...]:
    """Decide from the activation memory of each profile whether attention is fused.

    Fused: the memory is smaller than one attention matrix, so no such matrix is stored. Not fused: the memory is at
    least one matrix, and the matrix is larger than all other tensors alive at the same time. Undecided: the memory is
    at least one matrix, but the matrix is not larger than those tensors.

    Args:
        facts: facts of the parsed network, with the sizes of attention matrices.
        activation_bytes: activation memory of each profile, in bytes.
    """
    verdicts = []
    for sizes, largest, activation in zip(facts.attention, facts.largest_bytes, activation_bytes, strict=False):
        for size in sizes:
            if activation < size.bytes:
                verdict = FUSED
            elif size.bytes > _TENSORS_ALIVE * largest:
                verdict = UNFUSED
            else:
                verdict = UNDECIDED
            verdicts.append(AttentionVerdict(size, verdict, activation))
    return tuple(verdicts)


def unmet_precision(facts: NetworkFacts, precision: str, max_fp32_share: float) -> str | None:
    """Return a sentence if too many operations are in fp32 for the requested precision; else None.

    `max_fp32_share` is the allowed share, 0 to 1.
    """
    share = facts.share("FLOAT")
    if not is_low(precision) or share <= max_fp32_share:
        return None
    heaviest = sorted((w for w in facts.work if w.dtype == "FLOAT"), key=lambda w: -w.operations)[:3]
    return (
        f"precision={precision} is set, but {share:.0%} of the matrix arithmetic is in fp32 "
        f"(allowed: {max_fp32_share:.0%}), most of it in {', '.join(w.name for w in heaviest)}"
    )


def unmet_fusion(verdicts: Sequence[AttentionVerdict], precision: str) -> str | None:
    """Return a sentence if a precision smaller than fp32 was requested and attention is not fused; else None."""
    unfused = [each for each in verdicts if each.verdict == UNFUSED]
    if not is_low(precision) or not unfused:
        return None
    worst = max(unfused, key=lambda each: each.size.bytes)
    return (
        f"attention is not fused: the engine needs {worst.activation_bytes / 1e6:.0f} MB of activations; one "
        f"attention matrix {worst.size.shape} alone takes {worst.size.bytes / 1e6:.0f} MB"
    )
