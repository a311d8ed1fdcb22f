"""The caches of one stream: the data of earlier chunks that cached networks read, for each step of the solver."""

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
    """Shapes and type of the caches that one call of a cached estimator or front end takes.

    Attributes:
        contexts: shape of `conv_cache`, (B, C, width - 1); B is 2 for an estimator and 1 for a front end.
        frame: shape of `att_cache` without its first axis, which counts frames, in a front end tokens:
            (2 * layers, B, heads, dim_head).
        dtype: type of both caches.
        has_offset: True if the estimator takes `x_offset`, the number of frames before the call (CosyVoice 3).
        most: the largest number of earlier frames that a call gets; older ones are dropped. None for no limit.
    """

    contexts: tuple[int, ...]
    frame: tuple[int, ...]
    dtype: np.dtype[Any]
    has_offset: bool
    most: int | None = None

    def bytes_of(self, history: int, steps: int) -> int:
        """Return the bytes of all caches of one stream after `history` frames, for a solver of `steps` steps."""
        kept = history if self.most is None else min(history, self.most)
        return steps * self.dtype.itemsize * int(np.prod(self.contexts) + kept * np.prod(self.frame))


class CachedSteps:
    """A cached estimator with the caches of one stream.

    The solver calls it like an estimator without caches, once for each of its steps, but with the new frames only. Each
    step has caches of its own, because keys and values depend on the state and the time of the step. The object belongs
    to one stream and must not be called in parallel.

    Args:
        part: the cached estimator.
        form: shapes and type of the caches.
        steps: number of steps of the solver.
    """

    def __init__(self, part: Part, form: CacheForm, steps: int) -> None:
        self._part, self._form = part, form
        self._contexts: list[Array] = [np.zeros(form.contexts, form.dtype) for _ in range(steps)]
        self._histories = [History(form) for _ in range(steps)]
        self._step, self._frames = 0, 0
        self.last = False
        """True for the last call of the stream: its frames are not kept."""

    @property
    def frames(self) -> int:
        """The number of frames of all finished calls of the solver, including frames that the caches no longer hold."""
        return self._frames

    def __call__(self, **inputs: Array) -> Mapping[str, Array]:
        """Compute the velocity for the next step of the solver, and keep the new caches.

        See `solver.solve` for the inputs. The outputs include the new caches.
        """
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


class History:
    """The attention cache of one solver step: keys and values of earlier frames, in one preallocated array.

    The attention of an estimator does not depend on the order of its keys, because the keys themselves contain the
    positions. Therefore, with a limit (`CacheForm.most`), the newest frames simply overwrite the oldest.

    Args:
        form: the caches.
        in_order: True if the order counts; with a cap, a full array is then copied for each call.
    """

    def __init__(self, form: CacheForm, *, in_order: bool = False) -> None:
        self._form, self._in_order = form, in_order
        self._next, self._size = 0, 0
        self._buffer: Array = np.zeros((0, *form.frame), form.dtype)

    @property
    def kept(self) -> Array:
        """The keys and values of the frames so far, (frames, 2 * layers, 2, heads, dim_head), without a copy."""
        return self._buffer[: self._size]

    def append(self, new: Array) -> None:
        most = self._form.most
        if most is not None:
            new = new[-most:]
            if self._in_order and self._size + len(new) > most:
                self._buffer = np.concatenate((self.kept[self._size + len(new) - most :], new))
                self._size = most
                return
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


def without_history(part: Part, form: CacheForm) -> Part:
    """Return a cached network as an uncached one: each call is the first one of a stream, with all its frames."""
    caches = {CONV_CACHE: np.zeros(form.contexts, form.dtype), ATT_CACHE: np.zeros((0, *form.frame), form.dtype)}
    if form.has_offset:
        caches[OFFSET] = np.zeros(1, np.int64)

    def call(**inputs: Array) -> Mapping[str, Array]:
        return part(**inputs, **caches)

    return call


def cache_form(inputs: Mapping[str, tuple[tuple[int | str, ...], str]], most: int | None) -> CacheForm:
    """Read the shapes and type of the caches from the inputs of a cached estimator. A dynamic batch axis counts as 2.

    Args:
        inputs: input name -> (shape, with symbols for dynamic axes; type).
        most: the largest number of earlier frames that a call gets; None for no limit.

    Raises:
        ValueError: `most` or the size of an axis is not a whole number of at least 1.
    """
    contexts, kept = inputs[CONV_CACHE], inputs[ATT_CACHE]
    sizes = [2 if isinstance(size, str) else size for size in contexts[0]]
    frame = [2 if isinstance(size, str) else size for size in kept[0][1:]]
    for value in (*sizes, *frame, 1 if most is None else most):
        if type(value) is not int or value < 1:
            raise ValueError(f"{value!r} is given, and a whole number of at least 1 is expected")
    return CacheForm(tuple(sizes), tuple(frame), np.dtype(kept[1]), OFFSET in inputs, most)
