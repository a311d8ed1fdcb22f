"""Calls of functions in a subprocess, so that a crash of a native library does not end the build."""

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

from cosybuild.building.stage import Emit
from cosybuild.errors import CosybuildError
from cosybuild.system.memory import peak_resident, ran_out_of_memory

ResultT = TypeVar("ResultT")


class Died(Exception):
    """Raised if the subprocess ended without sending a result.

    Attributes:
        status: its exit code; a negative number is the signal that ended it.
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
    """The result of a call in a subprocess.

    Attributes:
        value: the return value of the function.
        peak_bytes: the largest resident memory of the subprocess in bytes; None if the system does not report it.
    """

    value: ResultT
    peak_bytes: int | None


def call_in_subprocess(
    function: Callable[..., ResultT], *arguments: Any, emit: Emit = lambda kind, **facts: None
) -> Answer[ResultT]:
    """Run `function(*arguments, emit)` in a new interpreter, which ends with the call or with this process.

    Args:
        function: a function at module level, which the subprocess imports by name. The function, its arguments and its
            return value must be picklable.
        arguments: the arguments before `emit`.
        emit: called in this process with the events that the function emits.

    Raises:
        Died: the subprocess crashed or was killed.
        KeyboardInterrupt: the user pressed Ctrl-C; the subprocess is killed first.
        CosybuildError, OSError, MemoryError: the function raised it.
        RuntimeError: the function raised another exception, which is a defect. Its cause is the traceback of the
            subprocess.
    """
    with ExitStack() as until_here:
        # multiprocessing is not used, because launchers replace its start method in their workers.
        with _interrupts_later():
            process = subprocess.Popen([sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            until_here.callback(_end, process)
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # the subprocess has died; `_listen` reports it
            for part in (sys.path, (function, arguments)):
                pickle.dump(part, process.stdin)
            process.stdin.flush()
        return _listen(process, emit)


# The subprocess needs this process's import path to import `answer` and to unpickle the call.
_PROGRAM = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from cosybuild.building.subprocess import answer
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
            raise error from _RemoteTraceback(told)


class _RemoteTraceback(Exception):
    """The traceback of an error in the subprocess, as text. In the caller, it is the `__cause__` of the error."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def answer() -> None:
    """Run the call that the caller sent, and send back its events and its result.

    This is the function that the subprocess runs.
    """
    # Ctrl-C reaches both processes; only the caller handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Libraries print to descriptor 1, which the caller reads; redirect their output to stderr.
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
    except BaseException as error:  # sent to the caller, which handles it
        send("error", (_portable(error), traceback.format_exc()))
    else:
        send("answer", (value, peak_resident()))


def _end_with_the_caller() -> None:
    # This read returns when the caller ends. Do not read from sys.stdin, whose lock the interpreter takes at exit.
    os.read(0, 1)
    os._exit(1)


def _portable(error: BaseException) -> BaseException:
    """Return an exception that can be pickled in place of an error.

    Errors that a caller handles are returned as they are. Any other error becomes a RuntimeError, because the class of
    a library's exception cannot always be pickled.
    """
    if ran_out_of_memory(error):  # pickling loses the causes
        return MemoryError(str(error))
    if isinstance(error, (CosybuildError, OSError)):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Block SIGINT in the `with` block.

    A subprocess that receives SIGINT prints a traceback, unless it already ignores the signal.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
