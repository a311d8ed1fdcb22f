"""Calls that may never return, of file systems that do not answer, waited for with an end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def within(seconds: float, call: Callable[..., T], *arguments: Any) -> T:
    """Return `call(*arguments)`, which runs in a thread of its own.

    A call that does not return goes on in its thread, which does not keep the process from ending.

    Args:
        seconds: how long to wait.

    Raises:
        TimeoutError: nothing came in that time.
        BaseException: what the call raised.
    """
    answer: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(call(*arguments))
        except BaseException as error:  # raised again where it is waited for
            failure.append(error)

    thread = threading.Thread(target=run, name="patience", daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not answer:
        raise TimeoutError(f"nothing came for {seconds:g} s")
    return answer[0]
