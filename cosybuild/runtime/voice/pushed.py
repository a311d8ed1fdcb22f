"""A stream whose tokens are pushed, for services that get them in separate requests."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import numpy as np

from cosybuild.errors import ServingError
from cosybuild.runtime.voice.arrays import Array


class _Closed(Exception):
    """The signal that ends the source of a stream that was closed before its last token."""


class PushedStream:
    """The samples of a stream, taken after each group of tokens; for one caller at a time.

    `Voice.stream` takes tokens from an iterator. Here, that iterator waits in a thread of its own until the next group
    arrives. A call of `push` returns when the iterator waits again, so the samples are those of all tokens so far.

    Args:
        start: tokens as they arrive -> the samples, such as `lambda tokens: voice.stream(tokens, *prompt)`.

    Raises:
        ServingError: see `Voice.stream`; raised by the constructor for a prompt, and by `push` for tokens.
    """

    def __init__(self, start: Callable[[Iterator[Array]], Iterator[Array]]) -> None:
        self._tokens: queue.SimpleQueue[tuple[Array, bool] | None] = queue.SimpleQueue()
        # None: the iterator waits for tokens; True: the samples have ended; else the error that ended them.
        self._turns: queue.SimpleQueue[BaseException | bool | None] = queue.SimpleQueue()
        self._pieces: list[Array] = []
        self._samples = start(self._source())
        self._is_over = False
        # A daemon, so that a stream that nobody ends does not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="cosybuild stream", daemon=True)
        self._thread.start()
        self._wait()

    def push(self, tokens: Array, *, last: bool = False) -> Array:
        """Return the samples that the tokens complete, (n,) float32; n may be 0 before the last call.

        Args:
            tokens: ids of the next tokens, (N,); N may be 0.
            last: True if no tokens follow.

        Raises:
            ServingError: the stream has ended, or see `Voice.stream`; an error ends the stream.
        """
        if self._is_over:
            raise ServingError("the stream has ended; no tokens are expected.", hint="Next: begin another stream.")
        self._tokens.put((tokens, last))
        self._wait()
        pieces, self._pieces = self._pieces, []
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

    def close(self) -> None:
        """End the stream; its thread ends too."""
        if not self._is_over:
            self._is_over = True
            self._tokens.put(None)
        self._thread.join()

    def _wait(self) -> None:
        """Wait until all samples that depend only on the tokens pushed so far have been computed."""
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
        except BaseException as caught:  # not handled here: `push` raises it in the caller's thread
            end = caught
        self._turns.put(end)
