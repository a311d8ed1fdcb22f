"""The known causes of failed gates: a list of entries, each with symptoms, an explanation and a remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_FLOAT32_LEFT_OUT = 60.0
"""A signal-to-noise ratio in dB that separates two kinds of wrong float32 graphs.

A graph that differs by a constant, an epsilon or a variant of an activation stays above it. A graph with a wrong
structure is below it.
"""

_ROUNDING = 100.0
"""A signal-to-noise ratio in dB, above which a float32 graph differs from the reference only by rounding.

Such a graph adds the same terms in another order.
"""


@dataclass(frozen=True)
class Signs:
    """The symptoms of a failed gate.

    Attributes:
        stage: the name of the stage of the step that failed.
        family: the model's family.
        message: the failure's message.
        note: the facts that the step reported about the failed case; empty if it reported none.
        cut: the smallest part of the graph that fails on its own, as facts: `op` and `module` of its node, `finite`,
            and `reference_max`, the largest magnitude in float32. It is empty if no such part was found.
        largest: the largest finite number of the stored type; infinite if the graph is not lowered.
    """

    stage: str
    family: str
    message: str
    note: Mapping[str, Any]
    cut: Mapping[str, Any]
    largest: float

    @property
    def lowered(self) -> bool:
        return self.stage == "verify_lowered"

    def property_failed(self, name: str) -> bool:
        """Return True if the failed case violates the property of the contract with this name."""
        return any(found.get("property") == name for found in self.note.get("properties", ()))

    def between(self, low: float, high: float) -> bool:
        """Return True for a float32 graph whose signal-to-noise ratio is in [low, high), in dB."""
        ratio = self.note.get("snr_db")
        return not self.lowered and isinstance(ratio, int | float) and low <= ratio < high


@dataclass(frozen=True)
class Diagnosis:
    """A known cause of a failed gate, as records store it.

    Attributes:
        name: a short name of the cause.
        says: an explanation in one sentence.
        remedy: what the user can do next.
    """

    name: str
    says: str
    remedy: str


@dataclass(frozen=True)
class Cause(Diagnosis):
    """A known cause with a function `matches`, which returns True if the symptoms fit the cause."""

    matches: Callable[[Signs], bool]


def _not_finite(signs: Signs) -> bool:
    return signs.lowered and signs.cut.get("finite") is False


def _overflows(signs: Signs) -> bool:
    return _not_finite(signs) and signs.cut["reference_max"] > signs.largest


def _is(*operators: str) -> Callable[[Signs], bool]:
    return lambda signs: signs.lowered and signs.cut.get("op") in operators


CAUSES: tuple[Cause, ...] = (
    Cause(
        "overflow",
        "A tensor is larger than the lower type's largest number, and becomes infinite.",
        "precision=auto finds the fewest nodes to keep in float32; the range of precision=bf16 is large enough",
        _overflows,
    ),
    Cause(
        "infinite constant",
        "A value that float32 keeps small is not finite in the lower type: a constant is beyond its range, and zero "
        "times infinity is not a number.",
        "precision.init_max as the type's largest number (its default), or a smaller mask constant in the model",
        _not_finite,
    ),
    Cause(
        "phase",
        "The argument of a sine or cosine is so large that one step of the lower type is a large part of a cycle.",
        "precision.keep_fp32 with the embedding's module; precision.io=keep where the input itself is the argument",
        lambda signs: _is("Sin", "Cos")(signs) or (signs.lowered and "time_mlp" in str(signs.cut.get("module"))),
    ),
    Cause(
        "cancellation",
        "Two nearly equal numbers are subtracted, or a small one is added to a large one, and digits are lost.",
        "precision=auto, or precision.keep_fp32 with the module named",
        _is("Add", "Sub"),
    ),
    Cause(
        "statistics",
        "A sum over an axis or a deviation is computed in the lower type.",
        "precision.keep_fp32 with the module named",
        _is("ReduceMean", "ReduceSum", "Pow", "Sqrt", "LayerNormalization", "InstanceNormalization"),
    ),
    Cause(
        "large scores",
        "Scores of attention are so large that their rounding changes the probabilities.",
        "precision.keep_fp32 with the attention's module, or precision=mixed",
        _is("Softmax", "MatMul"),
    ),
    Cause(
        "frozen axis",
        "A size was a Python number when the module was traced, so it is a constant in the graph.",
        "look for int(), len() or .item() on a shape in the module, or build with export.exporter=dynamo",
        lambda signs: signs.property_failed("axes"),
    ),
    Cause(
        "leaking guidance row",
        "The unconditional row depends on the conditional row.",
        "look for a reduction or a broadcast over the batch axis",
        lambda signs: signs.property_failed("zero_row") or signs.property_failed("independent_rows"),
    ),
    Cause(
        "mask",
        "Masked frames reach valid ones, or a mask has no effect: it is applied at the wrong place, or off by some "
        "frames.",
        "compare the attention mask with the model's, frame by frame",
        lambda signs: any(map(signs.property_failed, ("masked_frames", "mask_used"))),
    ),
    Cause(
        "chunk mask",
        "A frame sees other future frames than those of its chunk.",
        "compare the chunk's size and its alignment with the runtime's",
        lambda signs: any(map(signs.property_failed, ("future_chunks", "attention_span"))),
    ),
    Cause(
        "other weights or exchanged inputs",
        "The output hardly resembles the reference: a weight is transposed or missing, or two inputs are exchanged.",
        "check the order of the inputs and the weights' file",
        lambda signs: signs.between(float("-inf"), 10.0),
    ),
    Cause(
        "rotary variant",
        "CosyVoice 3 rotates interleaved pairs of the first head only; halves, or all heads, give a close but other "
        "attention.",
        "compare the rotary embedding with docs/decisions.md, and rotary_embed.inv_freq with the checkpoint",
        lambda signs: signs.family == "cosyvoice3" and signs.between(10.0, _FLOAT32_LEFT_OUT),
    ),
    Cause(
        "another variant",
        "The output differs a little everywhere: tanh GELU instead of exact GELU, another epsilon, or a missing bias.",
        "compare activations, epsilons and biases with the model's code",
        lambda signs: signs.between(10.0, _ROUNDING),
    ),
)
"""The known causes. The first one that matches the symptoms is reported. A match is a hint, not a proof."""


def match(signs: Signs) -> Diagnosis | None:
    """Return the first known cause that matches the symptoms; None if none matches."""
    found = next((cause for cause in CAUSES if cause.matches(signs)), None)
    return None if found is None else Diagnosis(found.name, found.says, found.remedy)
