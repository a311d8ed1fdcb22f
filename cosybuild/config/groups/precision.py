"""`precision`: the number type in which the graph computes, and every engine that is built from the graph."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cosybuild.config.groups.field import setting


class Target(str, Enum):
    """The number type of the lowered graph.

    fp32 and tf32 leave the graph as it is. tf32 stores float32, and a flag of the engine builder lets matrix units
    round the factors to 10 bits. fp16 and bf16 lower every node except those that a rule, a range or a pattern keeps in
    float32. mixed lowers matrix products and convolutions only, to fp16.
    """

    fp32 = "fp32"
    tf32 = "tf32"
    fp16 = "fp16"
    bf16 = "bf16"
    mixed = "mixed"


class Method(str, Enum):
    """The method that chooses the nodes that stay in float32."""

    rules = "rules"
    search = "search"
    autocast = "autocast"


class InputOutput(str, Enum):
    """The number type of the graph's inputs and outputs: the target's type (match), or float32 (keep)."""

    match = "match"
    keep = "keep"


@dataclass(frozen=True)
class PrecisionSettings:
    """Settings of the lowering, and of the calibration inputs on which the ranges of its tensors are measured."""

    target: Target = setting(
        Target.fp32,
        "fp32; tf32: an fp32 graph and a flag of the builder; fp16, bf16: all nodes except those that would lose "
        "accuracy; mixed: matrix products and convolutions in fp16, all other nodes in fp32.",
    )
    method: Method = setting(
        Method.rules,
        "rules: cosybuild's own pass; search: the rules, then the fewest further nodes in fp32 with which the graph "
        "passes the gates of verification; autocast: NVIDIA ModelOpt (extra).",
    )
    io: InputOutput = setting(
        InputOutput.match,
        "The type of inputs and outputs; match: the target's type (float32 for mixed); keep: float32.",
    )
    keep_fp32: tuple[str, ...] = setting(
        tuple, "Glob patterns for node names, module paths or operator types; matching nodes stay in fp32."
    )
    data_max: float | None = setting(
        None,
        "The largest magnitude in calibration of a tensor that may be lowered; null: a quarter of the range (fp16: "
        "16384).",
    )
    init_max: float | None = setting(
        None,
        "The largest magnitude of a constant that may be lowered; null: the target's largest number (fp16: 65504).",
    )
    init_min: float | None = setting(
        None,
        "A constant whose largest magnitude is below this value stays in fp32; null: the target's smallest normal "
        "number (fp16: 6.1e-5).",
    )
    calibration: str | None = setting(
        None,
        "An .npz file or a directory of them, with one array for each input; null: realistic generated inputs.",
        local=True,
    )
    calibration_sizes: tuple[int, ...] = setting(
        tuple,
        "The sizes of generated inputs, for every dynamic axis except the batch; empty: 4 and 128, within the profile.",
    )
    calibration_seed: int = setting(0, "The seed of the generated inputs.")
    snr_db: float | None = setting(
        None,
        "The smallest signal-to-noise ratio of each output of the lowered graph, in dB; null: the target's own gate.",
    )
