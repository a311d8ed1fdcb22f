"""The front end of a stream whose estimator has caches: each call computes the conditions of its own tokens only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from cosybuild.runtime.voice.arrays import Array, Part
from cosybuild.runtime.voice.caches import (
    ATT_CACHE,
    CONV_CACHE,
    NEW_ATT_CACHE,
    NEW_CONV_CACHE,
    CacheForm,
    History,
)

_FRAMES = ("mu", "cond")


class Front(Protocol):
    """The front end of one stream."""

    def __call__(self, given: Mapping[str, Array], done: int, *, last: bool) -> Mapping[str, Array]:
        """Return mu, spks and cond of the tokens of this call.

        Args:
            given: the front end's inputs for the prompt and all target tokens so far.
            done: the number of tokens of earlier calls, the prompt's included; 0 in the first call.
            last: True for the last call of the stream.
        """


class WholeFront:
    """A front end that computes all tokens in each call, for one whose manifest states no window and no caches.

    Args:
        part: the front end.
        ratio: frames for each token.
    """

    def __init__(self, part: Part, ratio: int) -> None:
        self._part, self._ratio = part, ratio

    def __call__(self, given: Mapping[str, Array], done: int, *, last: bool) -> Mapping[str, Array]:
        return _without(self._part(**given), done * self._ratio)


class WindowFront:
    """A front end without attention, whose calls get the new tokens and those before them on which they depend.

    Args:
        part: the front end.
        ratio: frames for each token.
        context: the tokens before a token on which its frames depend.
    """

    def __init__(self, part: Part, ratio: int, context: int) -> None:
        self._part, self._ratio, self._context = part, ratio, context

    def __call__(self, given: Mapping[str, Array], done: int, *, last: bool) -> Mapping[str, Array]:
        begin = max(0, done - self._context)
        return _without(self._part(**_from_token(given, begin)), (done - begin) * self._ratio)


class CachedFront:
    """A cached front end for one stream. The object belongs to one stream and must not be called in parallel.

    Args:
        part: the cached front end.
        form: the inputs for its caches; `most` counts tokens.
    """

    def __init__(self, part: Part, form: CacheForm) -> None:
        self._part = part
        self._contexts: Array = np.zeros(form.contexts, form.dtype)
        # A score depends on the distance of two tokens, so the order counts.
        self._history = History(form, in_order=True)

    def __call__(self, given: Mapping[str, Array], done: int, *, last: bool) -> Mapping[str, Array]:
        caches = {CONV_CACHE: self._contexts, ATT_CACHE: self._history.kept}
        made = self._part(**_from_token(given, done), **caches)
        if not last:
            self._contexts = made[NEW_CONV_CACHE]
            self._history.append(made[NEW_ATT_CACHE])
        return made


def _from_token(given: Mapping[str, Array], begin: int) -> dict[str, Array]:
    """Return the inputs of the tokens from `begin` on; the prompt is among the earlier ones if `begin` is not 0."""
    if not begin:
        return dict(given)
    ids = np.concatenate((given["prompt_token"], given["token"]), axis=1)
    empty = {"prompt_token": ids[:, :0], "prompt_feat": given["prompt_feat"][:, :0]}
    return {**given, **empty, "token": ids[:, begin:]}


def _without(made: Mapping[str, Array], frames: int) -> dict[str, Array]:
    return {name: values[:, :, frames:] if name in _FRAMES else values for name, values in made.items()}
