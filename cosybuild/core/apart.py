"""A call in a process of its own: a native library may crash there, and the build lives to say so."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from typing import Any, Generic, TypeVar

from cosybuild.core.memory import peak_resident
from cosybuild.core.stage import Emit
from cosybuild.errors import CosybuildError

ResultT = TypeVar("ResultT")


class Died(Exception):
    """The process ended without an answer.

    Attributes:
        status: its exit code; negative: the signal that ended it.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status

    def __str__(self) -> str:
        if self.status >= 0:
            return f"its process ended with exit code {self.status}"
        names = {one.value: one.name for one in signal.Signals}
        return f"its process was ended by {names.get(-self.status, f'signal {-self.status}')}"


@dataclass(frozen=True)
class Answer(Generic[ResultT]):
    """What came back.

    Attributes:
        value: what the function returned.
        peak_bytes: the largest resident memory of the process; None where the system does not tell.
    """

    value: ResultT
    peak_bytes: int | None


def call_apart(
    function: Callable[..., ResultT], *arguments: Any, emit: Emit = lambda kind, **facts: None
) -> Answer[ResultT]:
    """`function(*arguments, emit)` in a fresh interpreter, which ends with the call, or with this process.

    Args:
        function: of a module, so that the other process finds it by name; as everything given and returned
            it must pickle.
        emit: is told what the function emits, in this process.

    Raises:
        Died: the process crashed, or was killed.
        KeyboardInterrupt: Ctrl-C; the process is gone then, whatever it was doing.
        CosybuildError, OSError, MemoryError: what the function raised.
        RuntimeError: the function raised something else, a defect; the cause is the other process's traceback.
    """
    context = get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(writer, function, arguments), name=function.__name__)
    try:
        with _interrupts_later():
            process.start()
        writer.close()  # the end of the process is then the end of what can be read
        try:
            return _listen(reader, emit)
        except EOFError:
            process.join()
            assert process.exitcode is not None
            raise Died(process.exitcode) from None
    finally:
        if process.pid is not None:
            process.kill()
            process.join()
        reader.close()


def _listen(reader: connection.Connection, emit: Emit) -> Answer[Any]:
    while True:
        kind, content = reader.recv()
        if kind == "event":
            name, facts = content
            emit(name, **facts)
        elif kind == "answer":
            return Answer(*content)
        else:
            error, told = content
            raise error from _Elsewhere(told)


class _Elsewhere(Exception):
    """The traceback in the other process."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _answer(writer: connection.Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """What the other process does."""
    # Ctrl-C reaches both; the caller decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_caller, daemon=True).start()

    def emit(kind: str, /, **facts: Any) -> None:
        writer.send(("event", (kind, facts)))

    try:
        value = function(*arguments, emit)
    except BaseException as error:  # handed over to the caller, not handled
        writer.send(("error", (_portable(error), traceback.format_exc())))
    else:
        writer.send(("answer", (value, peak_resident())))


def _end_with_the_caller() -> None:
    caller = parent_process()
    assert caller is not None
    caller.join()
    os._exit(1)


def _portable(error: BaseException) -> BaseException:
    """Exceptions that callers tell apart as they are; of others, which may not pickle, the words."""
    if isinstance(error, (CosybuildError, OSError, MemoryError)):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Until its own handler stands, the new process must not take a Ctrl-C: it would print a traceback."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
