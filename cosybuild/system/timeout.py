"""Calls with a time limit, for file systems that may never answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def within(seconds: float, call: Callable[..., T], *arguments: Any) -> T:
    """Run `call(*arguments)` in a separate thread and return its result.

    A call that does not return in time continues in its thread. This is a daemon thread, so it does not keep the
    process alive.

    Args:
        seconds: the longest wait.
        call: the function to call.
        arguments: its arguments.

    Raises:
        TimeoutError: the call did not return in that time.
        BaseException: the exception that the call raised.
    """
    answer: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(call(*arguments))
        except BaseException as error:  # it is raised again in the waiting thread
            failure.append(error)

    thread = threading.Thread(target=run, name="patience", daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not answer:
        raise TimeoutError(f"no data arrived for {seconds:g} s")
    return answer[0]
