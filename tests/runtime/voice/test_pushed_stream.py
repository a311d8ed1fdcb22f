"""A stream whose tokens are pushed gives the samples of the stream that takes them, group by group."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cosybuild.errors import ServingError
from cosybuild.runtime.voice.pushed_stream import PushedStream

Array = np.ndarray[Any, Any]


def pairs(tokens: Iterator[Array]) -> Iterator[Array]:
    """Yield the sum of every two tokens, and at the end a token that is left over."""
    waiting: list[int] = []
    for group in tokens:
        for token in group.tolist():
            if token < 0:
                raise ServingError(f"the token is {token}")
            waiting.append(token)
            if len(waiting) == 2:
                yield np.array([sum(waiting)], np.float32)
                waiting.clear()
    yield np.array(waiting, np.float32)


def push(stream: PushedStream, *tokens: int, last: bool = False) -> list[float]:
    samples = stream.push(np.array(tokens, np.int64), last=last)
    assert samples.dtype == np.float32
    found: list[float] = samples.tolist()
    return found


def test_each_call_returns_the_samples_of_all_tokens_so_far() -> None:
    stream = PushedStream(pairs)
    assert [push(stream), push(stream, 1), push(stream, 2, 3), push(stream, 4, 5, 6, 7)] == [[], [], [3], [7, 11]]
    assert push(stream, last=True) == [7]
    with pytest.raises(ServingError, match="the stream has ended"):
        push(stream, 1)


def test_an_error_is_raised_in_the_caller_and_ends_the_stream() -> None:
    before = threading.active_count()
    stream = PushedStream(pairs)
    push(stream, 1)
    with pytest.raises(ServingError, match="the token is -1"):
        push(stream, -1)
    with pytest.raises(ServingError, match="the stream has ended"):
        push(stream, 1)
    stream.close()
    assert threading.active_count() == before


def test_an_error_before_the_first_token_is_raised_at_once() -> None:
    def failing(tokens: Iterator[Array]) -> Iterator[Array]:
        raise ServingError("no memory")
        yield np.zeros(0)

    with pytest.raises(ServingError, match="no memory"):
        PushedStream(failing)


def test_a_stream_that_ends_by_itself_takes_no_more_tokens() -> None:
    def first(tokens: Iterator[Array]) -> Iterator[Array]:
        yield next(tokens).astype(np.float32)

    stream = PushedStream(first)
    assert push(stream, 5) == [5]
    with pytest.raises(ServingError, match="the stream has ended"):
        push(stream, 6)


def test_a_closed_stream_has_no_thread() -> None:
    before = threading.active_count()
    streams = [PushedStream(pairs) for _ in range(5)]
    assert threading.active_count() == before + 5
    for stream in streams:
        stream.close()
        stream.close()
    assert threading.active_count() == before
