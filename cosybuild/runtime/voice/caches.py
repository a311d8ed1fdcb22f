"""The caches of one stream: the data of earlier frames that a cached estimator reads, for each step of the solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cosybuild.runtime.voice.arrays import Array, Part

CONV_CACHE, ATT_CACHE, OFFSET = "conv_cache", "att_cache", "x_offset"
NEW_CONV_CACHE, NEW_ATT_CACHE = "new_conv_cache", "new_att_cache"
_FIRST_CAPACITY = 256


@dataclass(frozen=True)
class CacheForm:
    """The caches that one call of an estimator takes.

    Attributes:
        contexts: shape of `conv_cache`, (2, C, width - 1).
        frame: shape of `att_cache` without its first axis, which counts frames: (2 * layers, 2, heads, dim_head).
        dtype: their type.
        has_offset: True if the estimator takes `x_offset`, the number of frames before the call (version 3).
        most: the most frames of history that a call gets, older ones are dropped; None for all.
    """

    contexts: tuple[int, ...]
    frame: tuple[int, ...]
    dtype: np.dtype[Any]
    has_offset: bool
    most: int | None = None

    def bytes_of(self, history: int, steps: int) -> int:
        """Return the bytes of the caches of one stream after `history` frames."""
        kept = history if self.most is None else min(history, self.most)
        return steps * self.dtype.itemsize * int(np.prod(self.contexts) + kept * np.prod(self.frame))


class CachedSteps:
    """A cached estimator for one stream, called like an uncached one, with the frames of a call only.

    The solver calls it once for each step. Each step has caches of its own, because keys and values depend on the
    state and the time of the step. The object belongs to one stream and must not be called in parallel.

    Args:
        part: the cached estimator.
        form: the inputs for its caches, see `CacheForm`.
        steps: steps of the solver.
    """

    def __init__(self, part: Part, form: CacheForm, steps: int) -> None:
        self._part, self._form = part, form
        self._contexts: list[Array] = [np.zeros(form.contexts, form.dtype) for _ in range(steps)]
        self._histories = [_History(form) for _ in range(steps)]
        self._step, self._frames = 0, 0
        self.last = False
        """True for the last call of the stream: its frames are not kept."""

    @property
    def frames(self) -> int:
        """The frames before the next call, those that were dropped included."""
        return self._frames

    def __call__(self, **inputs: Array) -> Mapping[str, Array]:
        """Compute the next step; see `solver.solve` for the inputs. The outputs include the new caches."""
        step, history = self._step, self._histories[self._step]
        offset = {OFFSET: np.array([self._frames], np.int64)} if self._form.has_offset else {}
        caches = {CONV_CACHE: self._contexts[step], ATT_CACHE: history.kept}
        outputs = self._part(**inputs, **caches, **offset)
        if not self.last:
            self._contexts[step] = outputs[NEW_CONV_CACHE]
            history.append(outputs[NEW_ATT_CACHE])
        self._step = (step + 1) % len(self._histories)
        if not self._step:
            self._frames += inputs["x"].shape[2]
        return outputs


class _History:
    """The keys and values of one step, in one array without copies for a call.

    Attention does not depend on the order of its keys, because positions are in the keys themselves. So with a cap the
    newest frames take the places of the oldest.
    """

    def __init__(self, form: CacheForm) -> None:
        self._form = form
        self._next, self._size = 0, 0
        self._buffer: Array = np.zeros((0, *form.frame), form.dtype)

    @property
    def kept(self) -> Array:
        """The frames so far, (S, ...)."""
        return self._buffer[: self._size]

    def append(self, new: Array) -> None:
        most = self._form.most
        if most is not None:
            new = new[-most:]
        self._grow(self._size + len(new))
        places = np.arange(self._next, self._next + len(new)) % len(self._buffer)
        self._buffer[places] = new
        self._next = (self._next + len(new)) % len(self._buffer)
        self._size = min(self._size + len(new), len(self._buffer))
        if most is None:
            self._next = self._size

    def _grow(self, frames: int) -> None:
        most = self._form.most
        if len(self._buffer) == most or frames <= len(self._buffer):
            return
        capacity = most if most is not None else max(_FIRST_CAPACITY, frames, 2 * len(self._buffer))
        larger = np.zeros((capacity, *self._form.frame), self._form.dtype)
        larger[: self._size] = self.kept
        self._buffer = larger


def cache_form(inputs: Mapping[str, tuple[tuple[int | str, ...], str]], most: int | None) -> CacheForm:
    """Return the caches of a guidance pair from a graph's inputs.

    Args:
        inputs: name -> shape, with symbols for dynamic axes, and type.
        most: the most frames of history.

    Raises:
        ValueError: `most` or the size of an axis is no whole number of at least 1.
    """
    contexts, kept = inputs[CONV_CACHE], inputs[ATT_CACHE]
    sizes = [2 if isinstance(size, str) else size for size in contexts[0]]
    frame = [2 if isinstance(size, str) else size for size in kept[0][1:]]
    for value in (*sizes, *frame, 1 if most is None else most):
        if type(value) is not int or value < 1:
            raise ValueError(f"{value!r} is given, and a whole number of at least 1 is expected")
    return CacheForm(tuple(sizes), tuple(frame), np.dtype(kept[1]), OFFSET in inputs, most)
