"""Experiments on an estimator's artifact, each of which tests one property of its contract.

Each experiment exchanges some of the inputs for other values. It then checks one part of the output: a part that must
not depend on the exchanged values must stay the same, and a part that must depend on them must change. Nothing is
compared with PyTorch. Therefore an experiment also finds faults that the PyTorch module itself has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cosybuild.identity import ESTIMATOR_INPUTS
from cosybuild.models.spec import ModelSpec
from cosybuild.numerics.inputs import CONDITIONING, Array, Draw, draw_inputs
from cosybuild.verification.properties import (
    LEAST_CHANGE,
    MOST_CHANGE,
    MOST_CHANGE_RESIZED,
    PROPERTIES,
    Finding,
    change,
    counted,
)

Inputs = Mapping[str, Array]
Infer = Callable[[Inputs], Array]
"""A run of the artifact: takes all inputs by name, returns the estimator's output, (B, mel, T)."""

FRAMES = ("x", "mu", "cond")
"""The inputs that have values for each frame, without the mask."""


@dataclass(frozen=True)
class Trial:
    """An artifact under test, and the sizes of the experiments on it.

    Attributes:
        spec: the estimator's interface, in the types that the artifact takes.
        infer: function that runs the artifact.
        in_place: function that runs the artifact with the output in x's memory; None if the backend cannot do that.
        computed_in: `float32`, `float16` or `bfloat16`; selects the bound on a change.
        length: number of frames of all experiments except those on chunks.
        batch: number of rows, at least 2.
        larger_batch: a larger number of rows that the artifact takes; None if there is none.
        chunk: frames per chunk of the streaming attention; 0 for full attention.
        chunked_length: number of frames of the experiments on chunks, more than one chunk; 0 to leave them out.
        seed: first seed of the inputs.
    """

    spec: ModelSpec
    infer: Infer
    in_place: Infer | None
    computed_in: str
    length: int
    batch: int = 2
    larger_batch: int | None = None
    chunk: int = 0
    chunked_length: int = 0
    seed: int = 0

    def inputs(self, seed: int, length: int | None = None, batch: int | None = None, *, pairs: bool = False) -> Any:
        sizes = {"batch": batch or self.batch, "seq_len": length or self.length}
        return draw_inputs(self.spec, Draw(sizes, self.seed + seed, guidance=pairs))

    @cached_property
    def valid(self) -> int:
        """The number of valid frames in a row with masked frames; the masked ones follow them.

        It is at most half a chunk, so that masked frames lie in the chunk of the valid ones, where attention could
        reach them.
        """
        return max(1, min(self.chunk or self.length, self.length) // 2)

    def stays(self, name: str, tried: str, actual: Array, expected: Array) -> Finding:
        bounds = MOST_CHANGE_RESIZED if PROPERTIES[name].resized else MOST_CHANGE
        return Finding(name, tried, change(actual, expected), bounds[self.computed_in])

    def changes(self, name: str, tried: str, actual: Array, expected: Array) -> Finding:
        return Finding(name, tried, change(actual, expected), LEAST_CHANGE)


def try_properties(trial: Trial) -> Iterator[Finding]:
    """Yield one finding for each experiment that the trial allows.

    If an output is not finite, only the finding of `finite` is yielded, because nothing else can be compared then.
    """
    assert tuple(tensor.name for tensor in trial.spec.inputs) == ESTIMATOR_INPUTS
    assert trial.batch >= 2
    finite = _finite(trial)
    yield finite
    if not finite.holds:
        return  # no part of the output can be compared
    yield from _rows(trial)
    yield from _inputs(trial)
    if trial.chunked_length:
        yield from _chunks(trial)
    elif not trial.chunk:
        yield from _span(trial, trial.length, trial.length, "of all")


def _finite(trial: Trial) -> Finding:
    values = trial.infer(trial.inputs(0, pairs=True))
    wrong = int(np.count_nonzero(~np.isfinite(values)))
    faults = [f"{wrong} of {values.size} elements are not finite"] if wrong else []
    return counted("finite", "a guidance pair", faults)


def _rows(trial: Trial) -> Iterator[Finding]:
    pair = trial.inputs(0, pairs=True)
    paired = trial.infer(pair)
    other = trial.inputs(1)
    leaked = trial.infer(
        {name: _with_row(v, 0, other[name]) if name in CONDITIONING else v for name, v in pair.items()}
    )
    yield trial.stays("zero_row", "mu, spks and cond of row 0 exchanged, row 1 compared", leaked[1:], paired[1:])

    mixed = {name: _with_row(values, 1, other[name]) for name, values in pair.items()}
    mixed["mask"][1, :, trial.valid :] = 0
    two = trial.infer(mixed)
    yield trial.stays("independent_rows", "all of row 1 exchanged, row 0 compared", two[:1], paired[:1])
    replaced = trial.infer({name: _with_row(values, 0, other[name]) for name, values in mixed.items()})
    yield trial.stays("independent_rows", "all of row 0 exchanged, row 1 compared", replaced[1:2], two[1:2])
    swapped = trial.infer({name: _swapped(values) for name, values in mixed.items()})
    yield trial.stays("row_order", "rows 0 and 1 changed places", _swapped(swapped), two)
    if trial.larger_batch is not None:
        more = trial.inputs(2, batch=trial.larger_batch)
        shared = min(trial.batch, trial.larger_batch)
        for name, values in more.items():
            values[:shared] = mixed[name][:shared]
        tried = f"{trial.batch} rows against {trial.larger_batch}"
        yield trial.stays("batch_size", tried, trial.infer(more)[:shared], two[:shared])

    frames = slice(trial.valid, None)
    # Row 1 of `mixed` comes from row 1 of `other`. So row 0 of `other` supplies the new values of its masked frames.
    spare = {name: _swapped(values) for name, values in other.items()}
    hidden = {name: _with_frames(v, 1, frames, spare[name]) if name in FRAMES else v for name, v in mixed.items()}
    tried = f"x, mu and cond of masked frames {trial.valid}..{trial.length - 1} exchanged, the valid ones compared"
    before = (slice(1, 2), slice(None), slice(0, trial.valid))
    yield trial.stays("masked_frames", tried, trial.infer(hidden)[before], two[before])
    shown = trial.infer({**mixed, "mask": np.ones_like(mixed["mask"])})
    yield trial.changes("mask_used", f"frames {trial.valid}.. masked or not", shown[before], two[before])
    if trial.in_place is not None:
        copies = {name: values.copy() for name, values in mixed.items()}
        yield trial.stays("in_place", "the output bound to x's memory", trial.in_place(copies), two)


def _inputs(trial: Trial) -> Iterator[Finding]:
    base, other = trial.inputs(3), trial.inputs(4)
    expected = trial.infer(base)
    for name in ESTIMATOR_INPUTS:
        if name != "mask":
            actual = trial.infer({**base, name: other[name]})
            yield trial.changes("inputs_used", f"{name} exchanged", actual, expected)


def _chunks(trial: Trial) -> Iterator[Finding]:
    chunk, length = trial.chunk, trial.chunked_length
    base, other = trial.inputs(5, length), trial.inputs(6, length)
    later = slice(chunk, None)
    changed = {n: _with_frames(v, slice(None), later, other[n]) if n in FRAMES else v for n, v in base.items()}
    tried = f"x, mu and cond of frames {chunk}..{length - 1} exchanged, frames 0..{chunk - 1} compared"
    earlier = (slice(None), slice(None), slice(0, chunk))
    yield trial.stays("future_chunks", tried, trial.infer(changed)[earlier], trial.infer(base)[earlier])
    yield from _span(trial, length, chunk, "of its chunk")


def _span(trial: Trial, length: int, seen: int, which: str) -> Iterator[Finding]:
    base, other = trial.inputs(5, length), trial.inputs(6, length)
    last = slice(seen - 1, seen)
    changed = {n: _with_frames(v, slice(None), last, other[n]) if n in FRAMES else v for n, v in base.items()}
    first = (slice(None), slice(None), slice(0, 1))
    tried = f"x, mu and cond of frame {seen - 1} (the last {which}) exchanged, frame 0 compared"
    yield trial.changes("attention_span", tried, trial.infer(changed)[first], trial.infer(base)[first])


def _with_row(values: Array, row: int, other: Array) -> Array:
    result: Array = values.copy()
    result[row] = other[row]
    return result


def _with_frames(values: Array, rows: Any, frames: slice, other: Array) -> Array:
    result: Array = values.copy()
    result[rows, ..., frames] = other[rows, ..., frames]
    return result


def _swapped(values: Array) -> Array:
    """Return a copy of a batch with rows 0 and 1 exchanged."""
    order: Sequence[int] = [1, 0, *range(2, values.shape[0])]
    result: Array = np.ascontiguousarray(values[order])
    return result
