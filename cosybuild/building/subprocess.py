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
from typing import Any, BinaryIO, Generic, TypeVar

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
        process = start(answer, until_here)
        send(process, (function, arguments))
        return listen(process, emit)


def start(program: Callable[[], None], until: ExitStack) -> subprocess.Popen[bytes]:
    """Start a new interpreter that calls `program`, a function at module level of cosybuild; `until` ends it."""
    text = _PROGRAM.format(module=program.__module__, name=program.__name__)
    # multiprocessing is not used, because launchers replace its start method in their workers.
    with _interrupts_later():
        process = subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        until.callback(_end, process)
    send(process, sys.path)
    return process


def send(process: subprocess.Popen[bytes], content: Any) -> None:
    """Write a pickled object to the subprocess. If it has died, `listen` reports that."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        pickle.dump(content, process.stdin)
        process.stdin.flush()


# The subprocess needs this process's import path to import the function and to unpickle the call.
_PROGRAM = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from {module} import {name}
{name}()
"""


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


def listen(process: subprocess.Popen[bytes], emit: Emit) -> Answer[Any]:
    """Pass on events until the subprocess has answered, and return its answer; see `call_in_subprocess`."""
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
    messages = open_messages()
    function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301  # from the process that started this one
    threading.Thread(target=_end_with_the_caller, daemon=True).start()

    def emit(kind: str, /, **facts: Any) -> None:
        write_message(messages, "event", (kind, facts))

    reply(messages, lambda: function(*arguments, emit))


def open_messages() -> BinaryIO:
    """Return the file whose content the caller reads, and prepare this subprocess for Ctrl-C and for libraries."""
    # Ctrl-C reaches both processes; only the caller handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Libraries print to descriptor 1, which the caller reads; redirect their output to stderr.
    messages = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return messages


def reply(messages: BinaryIO, compute: Callable[[], Any]) -> None:
    """Send the result of `compute()`, or its error."""
    try:
        value = compute()
    except BaseException as error:  # sent to the caller, which handles it
        write_message(messages, "error", (_portable(error), traceback.format_exc()))
    else:
        write_message(messages, "answer", (value, peak_resident()))


def write_message(messages: BinaryIO, kind: str, content: Any) -> None:
    """Send one message to the caller, which reads it with `listen`."""
    messages.write(pickle.dumps((kind, content), protocol=5))
    messages.flush()


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
