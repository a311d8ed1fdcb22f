"""Checks and conversions of the inputs of an utterance. Each error gives the value and what was expected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from cosybuild.errors import ServingError, ShapeRefused
from cosybuild.runtime.voice.arrays import Array
from cosybuild.runtime.voice.facts import Facts

LARGEST = 1e18
"""Largest magnitude of an input value. With larger values, the sums of squares that the networks compute overflow in
float32.
"""
_LARGEST_ID = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Prompt:
    """The prompt of an utterance, in the shapes of the front end.

    Attributes:
        arrays: input name of the front end -> array.
        tokens: number of the prompt's tokens.
        frames: number of the prompt's mel frames.
    """

    arrays: Mapping[str, Array]
    tokens: int
    frames: int


def token_row(name: str, tokens: Array | Iterable[int]) -> Array:
    """Return token ids as (1, N) int64; `name` is the argument's name, for the errors.

    Raises:
        ServingError: the ids are not whole numbers, or do not fit into 64 bits.
        ShapeRefused: the ids are not in one row.
    """
    row = tokens if isinstance(tokens, np.ndarray) else _array(name, tokens)
    if row.size == 0:
        return np.zeros((1, 0), np.int64)
    if row.dtype.kind not in "iu":
        raise ServingError(f"{name} has values of the type {row.dtype}; whole numbers are expected.")
    if row.ndim == 1:
        row = row[np.newaxis]
    if row.ndim != 2 or row.shape[0] != 1:
        raise ShapeRefused(f"{name} has the shape {row.shape}; (tokens,) or (1, tokens) is expected.")
    if row.max() > _LARGEST_ID:
        raise ServingError(f"{name} has the id {int(row.max())}, which no vocabulary has.")
    return row.astype(np.int64, copy=False)


def _array(name: str, tokens: Iterable[int]) -> Array:
    # The caller's iterator may raise errors of its own, so it runs outside the `try` below.
    if not isinstance(tokens, Iterable):
        raise ServingError(f"{name} is {tokens!r}; whole numbers in one row are expected.")
    values = list(tokens)
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ShapeRefused(f"{name} has rows of several lengths; (tokens,) or (1, tokens) is expected.") from error


def check_ids(name: str, row: Array, facts: Facts) -> None:
    """Check that all ids are in the vocabulary. The network itself would read another row of its table for a wrong id.

    Args:
        name: the argument's name, for the error.
        row: (1, N), the ids.
        facts: the voice's facts.

    Raises:
        ServingError: an id is outside the vocabulary.
    """
    outside = (row < 0) | (row >= facts.vocabulary)
    if outside.any():
        index = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ServingError(
            f"{name}{list(index)} is {int(row[index])}; whole numbers from 0 to {facts.vocabulary - 1} are expected "
            f"({int(outside.sum())} of {row.size} values are outside).",
            hint="Next: check that the tokens come from the tokenizer of this version of the model.",
        )


def prompt_of(tokens: Array | Iterable[int], mel: Array, speaker: Array, facts: Facts) -> Prompt:
    """Check a prompt and return it in the shapes of the front end; see `Voice.mel` for the shapes of the arguments.

    Raises:
        ServingError: an input has values of another type, values that are not finite, or an id outside the vocabulary.
        ShapeRefused: an input has another shape, or the numbers of tokens and mel frames do not match.
    """
    row = token_row("prompt_tokens", tokens)
    check_ids("prompt_tokens", row, facts)
    frames = _floats("prompt_mel", mel, 3)
    vector = _floats("speaker", speaker, 2)
    if frames.shape[0] != 1 or frames.shape[2] != facts.mel:
        raise ShapeRefused(f"prompt_mel has the shape {np.shape(mel)}; (frames, {facts.mel}) is expected.")
    expected = row.shape[1] * facts.frames_per_token
    if facts.frames_per_token and frames.shape[1] != expected:
        raise ShapeRefused(
            f"prompt_mel has {frames.shape[1]} frames; {expected} are expected for {row.shape[1]} prompt tokens, "
            f"{facts.frames_per_token} for each.",
            hint="Next: cut the longer one of prompt_mel and prompt_tokens at its end, as CosyVoice does.",
        )
    arrays = {"prompt_token": row, "prompt_feat": frames, "embedding": vector}
    return Prompt(arrays, row.shape[1], frames.shape[1])


def _floats(name: str, values: Array, axes: int) -> Array:
    """Return `values` as an array of `axes` axes. A missing first axis is added."""
    array = np.asarray(values)
    if array.ndim == axes - 1:
        array = array[np.newaxis]
    if array.ndim != axes:
        raise ShapeRefused(f"{name} has the shape {np.shape(values)}; {axes - 1} or {axes} axes are expected.")
    check_floats(name, array)
    return array


def check_floats(name: str, values: object) -> None:
    """Check that `values` is an array of finite floating-point numbers, none larger in magnitude than LARGEST.

    Raises:
        ServingError: `values` is not such an array; the message begins with `name`.
    """
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        kind = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise ServingError(f"{name} has values of the type {kind}; an array of floating-point numbers is expected.")
    wrong = ~np.isfinite(values)
    if float(np.finfo(values.dtype).max) > LARGEST:
        wrong |= np.abs(values) > LARGEST
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ServingError(
            f"{name}{list(index)} is {values[index]}; finite numbers of at most {LARGEST:g} are expected."
        )


def finite(name: str, values: Array) -> Array:
    """Check that all values are finite, and return them unchanged. `name` says what was computed, for the error.

    Raises:
        ServingError: a value is not finite.
    """
    wrong = ~np.isfinite(values)
    if wrong.any():
        raise ServingError(
            f"{int(wrong.sum())} of {values.size} values of {name} are not finite, because the computation overflowed.",
            hint="Next: check the scale of the inputs, or choose a part that computes in float32.",
        )
    return values
