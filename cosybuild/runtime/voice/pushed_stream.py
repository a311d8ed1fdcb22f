"""A stream whose tokens are pushed in groups, for services that get the tokens in separate requests."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import numpy as np

from cosybuild.errors import ServingError
from cosybuild.runtime.voice.arrays import Array


class _Closed(Exception):
    """Raised inside the token iterator when the stream is closed before its last token."""


class PushedStream:
    """A stream that takes each group of tokens by a call of `push`, which returns samples. For one caller at a time.

    `Voice.stream` pulls tokens from an iterator. `PushedStream` runs it in a thread of its own, in which the iterator
    waits for the next group of tokens. `push` returns when the iterator waits again. At that moment, all samples that
    depend only on the tokens so far have been computed.

    Args:
        start: a function that takes an iterator of tokens and returns the iterator of samples, such as `lambda tokens:
            voice.stream(tokens, *prompt)`.

    Raises:
        ServingError: see `Voice.stream`. The constructor raises the errors of the prompt, `push` those of the tokens.
    """

    def __init__(self, start: Callable[[Iterator[Array]], Iterator[Array]]) -> None:
        self._tokens: queue.SimpleQueue[tuple[Array, bool] | None] = queue.SimpleQueue()
        # The thread reports after each group: None if the iterator waits for tokens, True if the samples have ended, or
        # the error that ended them.
        self._turns: queue.SimpleQueue[BaseException | bool | None] = queue.SimpleQueue()
        self._pieces: list[Array] = []
        self._samples = start(self._source())
        self._is_over = False
        # A daemon thread, so that a stream that is never closed does not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="cosybuild stream", daemon=True)
        self._thread.start()
        self._wait()

    def push(self, tokens: Array, *, last: bool = False) -> Array:
        """Give the stream its next tokens, and return the samples that they complete, (n,) float32.

        n may be 0 before the last call.

        Args:
            tokens: ids of the next tokens, (N,); N may be 0.
            last: True if no tokens follow.

        Raises:
            ServingError: the stream has ended, or an error of `Voice.stream`, which ends this stream.
        """
        if self._is_over:
            raise ServingError("the stream has ended; no tokens are expected.", hint="Next: begin another stream.")
        self._tokens.put((tokens, last))
        self._wait()
        pieces, self._pieces = self._pieces, []
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

    def close(self) -> None:
        """End the stream and wait until its thread has ended."""
        if not self._is_over:
            self._is_over = True
            self._tokens.put(None)
        self._thread.join()

    def _wait(self) -> None:
        """Wait until the thread reports, and raise the error that it reports, if any.

        It reports when all samples that depend only on the tokens so far have been computed.
        """
        turn = self._turns.get()
        self._is_over = turn is not None
        if isinstance(turn, BaseException):
            raise turn

    def _source(self) -> Iterator[Array]:
        last = False
        while not last:
            self._turns.put(None)
            given = self._tokens.get()
            if given is None:
                raise _Closed
            tokens, last = given
            yield tokens

    def _run(self) -> None:
        end: BaseException | bool = True
        try:
            for piece in self._samples:
                self._pieces.append(piece)
        except _Closed:
            return
        except BaseException as caught:  # `push` raises it in the caller's thread
            end = caught
        self._turns.put(end)
