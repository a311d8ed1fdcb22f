"""The division of a stream into calls of the flow, such that no frame changes after it was returned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from cosybuild.runtime.voice.arrays import Array
from cosybuild.runtime.voice.facts import Facts
from cosybuild.runtime.voice.inputs import token_row


@dataclass(frozen=True)
class Call:
    """One call of the flow, which computes all target tokens so far.

    Attributes:
        target: all tokens of the target up to the end of this call, (1, N).
        ahead: the look-ahead tokens after them, (1, A); A is 0 in the last call.
        last: True if no tokens follow.
    """

    target: Array
    ahead: Array
    last: bool


def calls(tokens: Iterable[int | Array], prompt: int, facts: Facts, least: int) -> Iterator[Call]:
    """Yield the calls of a stream, each as soon as enough tokens have arrived.

    A frame sees all frames of its chunk, so a frame is final only when its chunk is complete. Chunks are counted from
    the first token of the prompt. Therefore every call ends at the end of a chunk, like upstream's calls; only the last
    call ends at the last token.

    Args:
        tokens: token ids, or arrays of them, as they arrive.
        prompt: number of the prompt's tokens.
        facts: the voice's facts.
        least: smallest number of new tokens in every call but the last.
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
    """Return the first end of a chunk that is at least `least` tokens after `done`, counted in target tokens."""
    return -(-(prompt + done + least) // chunk) * chunk - prompt
