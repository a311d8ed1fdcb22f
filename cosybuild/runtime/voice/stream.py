"""The calls of a streamed flow: which tokens each call reads, so that no frame that was given out changes later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from cosybuild.runtime.voice.arrays import Array
from cosybuild.runtime.voice.facts import Facts
from cosybuild.runtime.voice.inputs import token_row


@dataclass(frozen=True)
class Call:
    """One call of the flow on all tokens so far.

    Attributes:
        target: the target's tokens from the first on, (1, N).
        ahead: the look-ahead tokens, (1, A); none in the last call.
        last: True if no tokens follow.
    """

    target: Array
    ahead: Array
    last: bool


def calls(tokens: Iterable[int | Array], prompt: int, facts: Facts, least: int) -> Iterator[Call]:
    """Return the calls for tokens that arrive one by one or in arrays, each as soon as its tokens are there.

    A frame sees its whole chunk, so only frames of complete chunks keep their values. Chunks are counted from the
    prompt's first token. A call therefore ends at the end of a chunk, like upstream's calls, and the last call
    at the last token.

    Args:
        tokens: token ids, or arrays of them.
        prompt: number of the prompt's tokens.
        facts: the voice's facts.
        least: smallest number of new tokens in a call before the last.
    """
    arrived = np.zeros((1, 0), np.int64)
    end = _next_end(0, prompt, facts.chunk, least)
    for item in tokens:
        more = token_row("tokens", item if isinstance(item, list | tuple) else np.atleast_1d(item))
        arrived = more if not arrived.size else np.concatenate((arrived, more), axis=1)
        while end + facts.lookahead <= arrived.shape[1]:
            yield Call(arrived[:, :end], arrived[:, end : end + facts.lookahead], last=False)
            end = _next_end(end, prompt, facts.chunk, least)
    yield Call(arrived, arrived[:, :0], last=True)


def _next_end(done: int, prompt: int, chunk: int, least: int) -> int:
    """Return the smallest end of a chunk with at least `least` tokens after `done`, as a number of target tokens."""
    return -(-(prompt + done + least) // chunk) * chunk - prompt
