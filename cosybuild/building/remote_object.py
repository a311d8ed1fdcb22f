"""An object that lives in a subprocess, so that a crash or a hang of a native library does not end the build."""

from __future__ import annotations

import os
import pickle
import queue
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from cosybuild.building.subprocess import Died, listen, open_messages, reply, send, start


class TookTooLong(Died):
    """The subprocess did not answer within the limit, and was killed."""

    def __init__(self, status: int, seconds: float) -> None:
        super().__init__(status)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"it did not end within {self.seconds:g} s"


class RemoteObject:
    """An object in a new interpreter, which ends with this object, with `close`, and with this process.

    Args:
        make: a function at module level that makes the object.
        arguments: the arguments of `make`. They, and those of the methods and their results, must pickle.
        seconds: the longest time in which the object must be made; None for no limit.

    Attributes:
        peak_bytes: the largest resident memory of the subprocess up to its last answer; 0 if it is not known.

    Raises:
        Died: the subprocess crashed, was killed, or took too long.
        CosybuildError, OSError, MemoryError: `make` raised it.
        RuntimeError: `make` raised another exception, a defect.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any, seconds: float | None = None) -> None:
        with ExitStack() as until:
            self._process = start(serve, until)
            self.peak_bytes = 0
            self._ended = weakref.finalize(self, until.pop_all().close)
        self._ask((make, arguments), seconds)

    def close(self) -> None:
        """End the subprocess."""
        self._ended()

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the object and return its result.

        A failing method raises the same kinds of errors as a failing `make`, see `Raises` of the class.
        After Died or KeyboardInterrupt, the subprocess has ended, and each further call raises Died.
        """
        return self._ask((method, arguments), None)

    def _ask(self, question: Any, seconds: float | None) -> Any:
        if not self._ended.alive:
            raise Died(self._process.returncode)
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self._process.kill()

        timer = threading.Timer(seconds, expire) if seconds is not None else None
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            send(self._process, question)
            answer = listen(self._process, lambda kind, **facts: None)
            self.peak_bytes = max(self.peak_bytes, answer.peak_bytes or 0)
            return answer.value
        except Died as died:
            self.close()
            if seconds is not None and expired.is_set():
                raise TookTooLong(died.status, seconds) from None
            raise
        except Exception:  # raised by the object, which can be called again
            raise
        except BaseException:
            self.close()
            raise
        finally:
            if timer is not None:
                timer.cancel()


def serve() -> None:
    """Make the object that the caller names, and answer its calls until the caller ends; the subprocess runs this."""
    messages = open_messages()
    questions: queue.SimpleQueue[tuple[Any, tuple[Any, ...]]] = queue.SimpleQueue()
    # A thread reads the calls, so that the subprocess ends with the caller even during a call.
    threading.Thread(target=_read, args=(questions,), daemon=True).start()
    held: list[Any] = []
    make, arguments = questions.get()
    reply(messages, lambda: held.append(make(*arguments)))
    while True:
        method, arguments = questions.get()
        reply(messages, lambda name=method, given=arguments: getattr(held[0], name)(*given))  # type: ignore[misc]


def _read(questions: queue.SimpleQueue[tuple[Any, tuple[Any, ...]]]) -> None:
    try:
        while True:
            questions.put(pickle.load(sys.stdin.buffer))  # noqa: S301  # from the process that started this one
    finally:
        os._exit(1)
