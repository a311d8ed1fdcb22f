"""A call in a process of its own: a native library may crash there, and the build lives to say so."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cosybuild.core.memory import peak_resident, ran_out_of_memory
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
    with ExitStack() as until_here:
        # Not multiprocessing: inside a launcher's workers it would start what that launcher has made of it.
        with _interrupts_later():
            process = subprocess.Popen([sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            until_here.callback(_end, process)
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it is dead already, which shows below
            for part in (sys.path, (function, arguments)):
                pickle.dump(part, process.stdin)
            process.stdin.flush()
        return _listen(process, emit)


# `answer` needs this process's path to be found, and what it is asked needs it to be unpickled.
_PROGRAM = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from cosybuild.core.apart import answer
answer()
"""


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


def _listen(process: subprocess.Popen[bytes], emit: Emit) -> Answer[Any]:
    assert process.stdout is not None
    while True:
        try:
            kind, content = pickle.load(process.stdout)  # noqa: S301  # from a process of ours
        except (EOFError, pickle.UnpicklingError):
            raise Died(process.wait()) from None
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


def answer() -> None:
    """What the other process does."""
    # Ctrl-C reaches both; the caller decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What libraries print is not for the caller to read.
    messages = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301  # from the process that started this one
    threading.Thread(target=_end_with_the_caller, daemon=True).start()

    def send(kind: str, content: Any) -> None:
        messages.write(pickle.dumps((kind, content)))
        messages.flush()

    def emit(kind: str, /, **facts: Any) -> None:
        send("event", (kind, facts))

    try:
        value = function(*arguments, emit)
    except BaseException as error:  # handed over to the caller, not handled
        send("error", (_portable(error), traceback.format_exc()))
    else:
        send("answer", (value, peak_resident()))


def _end_with_the_caller() -> None:
    # Nothing comes; it ends when the caller does. Not by sys.stdin, whose lock the end of the interpreter asks for.
    os.read(0, 1)
    os._exit(1)


def _portable(error: BaseException) -> BaseException:
    """Exceptions that callers tell apart as they are; of others, which may not pickle, the words."""
    if ran_out_of_memory(error):  # its causes would be lost
        return MemoryError(str(error))
    if isinstance(error, (CosybuildError, OSError)):
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
