"""The report of a failed command: a message, the next command, and an exit code for the kind of error."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from cosybuild.building.record import Failure
from cosybuild.cli.printed import say
from cosybuild.errors import DEFECT, UNREAD, CosybuildError, OutOfMemory, StoreError
from cosybuild.system.files import TEMPORARY, is_of_the_disk, place_error
from cosybuild.system.memory import ran_out_of_memory

T = TypeVar("T")


def run_guarded(action: Callable[[], int]) -> int:
    """Run `action` and return its exit code; turn an exception into a message on stderr and an exit code.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C. `cosybuild.__main__` handles this.
    """
    try:
        return action()
    except BrokenPipeError:
        # The reader closed the output (`| head`). Print nothing, but do not report success: a build may be incomplete.
        # Python flushes stdout when it exits. If that failed too, its exit code 120 would replace the one below.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.stderr.close()
        return UNREAD
    except (Exception, SystemExit) as error:
        return _report(error)


def failure_of(action: Callable[[], T]) -> T | Failure:
    """Run an action, such as the build of one cell, and return its result or its failure.

    The caller can then go on with other actions.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C, which must end all actions.
    """
    try:
        return action()
    except (Exception, SystemExit) as error:
        failure = recorded_failure(error)
        if failure.exit_code == DEFECT:
            traceback.print_exception(error, file=sys.stderr)
        return failure


def recorded_failure(error: BaseException) -> Failure:
    """Convert an error that was raised outside of a step into the `Failure` that records and reports hold."""
    known = user_error(error)
    if known is not None:
        return Failure("", known.kind, known.message, known.hint, known.exit_code)
    return Failure("", "defect", f"{type(error).__name__}: {error}", None, DEFECT)


def _report(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        code = error.code
        return code if isinstance(code, int) else int(bool(code))
    known = user_error(error)
    if known is not None:
        present(known.kind, known.message, known.hint)
        return known.exit_code
    traceback.print_exception(error, file=sys.stderr)
    say("This is a defect of cosybuild, not of your input. Please report it with the lines above.", file=sys.stderr)
    return DEFECT


def present(kind: str, message: str, hint: str | None) -> None:
    """Print the kind and the message of a failure, and its hint if there is one, to stderr."""
    say(f"{kind} error: {message}", file=sys.stderr)
    if hint:
        say(hint, file=sys.stderr)


def user_error(error: BaseException) -> CosybuildError | None:
    """Convert an exception into the error that a user is shown; return None if it is a defect of cosybuild."""
    if isinstance(error, CosybuildError):
        return error
    if ran_out_of_memory(error):
        return OutOfMemory(
            f"There is not enough memory: {str(error) or type(error).__name__}.",
            hint="Next: free memory or use a machine with more (`ulimit -v` shows a limit), then run the same command "
            "again; finished steps are kept",
        )
    if isinstance(error, OSError) and is_of_the_disk(error):
        # An error of Hydra's own writes to the run directory has no file name.
        return place_error(error, "read or write", error.filename or f"a file; the working directory is {Path.cwd()}")
    if isinstance(error, FileNotFoundError) and _was_creating(error):  # e.g. hydra.run.dir=/proc/x
        place = Path(str(error.filename)).parent
        return StoreError(
            f"Cannot create a file or directory in {place}: {error.strerror}.",
            hint="Next: give a directory that exists and in which you can write.",
        )
    # An error of Hydra exists only if Hydra is loaded; do not import it for other errors.
    if "hydra" in sys.modules or "omegaconf" in sys.modules:
        from cosybuild.config.compose import explain

        return explain(error)
    return None


def _was_creating(error: OSError) -> bool:
    """Return True if an error occurred while a directory, or the temporary file for new content, was created."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    made_directory = trace is not None and trace.tb_frame.f_code.co_name in ("mkdir", "makedirs")
    return made_directory or str(error.filename).endswith(TEMPORARY)
