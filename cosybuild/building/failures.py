"""The conversion of errors that the machine caused to errors for users, and of errors to records."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cosybuild.building.record import Failure
from cosybuild.errors import DEFECT, INTERRUPTED, CosybuildError, OutOfMemory, StoreError
from cosybuild.system.files import FULL, cause_of, is_of_the_disk, place_error
from cosybuild.system.memory import PeakMemory, ran_out_of_memory

_DISK = FULL | {errno.EROFS}


@contextmanager
def convert_machine_errors(label: str, workdir: Path | None = None, memory: PeakMemory | None = None) -> Iterator[None]:
    """Convert errors that the machine caused in the `with` block to errors that name the step.

    Args:
        label: the label of the step.
        workdir: the working directory of the step; None if it has none.
        memory: the measurement of the step's memory, for the message; None if there is none.

    Raises:
        OutOfMemory: in place of any error that reports a lack of memory.
        StoreError: in place of an OSError of a full or read-only disk, and of any error after the working directory was
            removed.
    """
    try:
        yield
    except Exception as error:
        if ran_out_of_memory(error):
            peak = memory.so_far() if memory is not None else None
            taken = "" if peak is None else f" after taking {peak / 2**20:,.0f} MiB"
            raise OutOfMemory(
                f"The step '{label}' ran out of memory{taken}.",
                hint="Next: free memory or use a machine with more (`ulimit -v` shows a limit), then run the same "
                "command again; finished steps are kept",
            ) from error
        if workdir is not None and not workdir.is_dir():
            raise StoreError(
                f"The working directory {workdir} of the step '{label}' was removed while the step ran.",
                hint="Next: run the same command again, and do not remove the store during a build",
            ) from error
        if not isinstance(error, OSError) or error.errno not in _DISK:
            raise
        where = error.filename if error.filename is not None else workdir
        raise StoreError(
            f"The step '{label}' could not write to {where}: {cause_of(error)}.",
            hint="Next: python -m cosybuild gc --dry-run, or store.path=... on another disk",
        ) from error


def failure_from_error(label: str, error: BaseException) -> Failure:
    """Convert the error that ended the step `label` to the record of a failure."""
    if isinstance(error, CosybuildError):
        return Failure(label, error.kind, error.message, error.hint, error.exit_code)
    if isinstance(error, OSError) and is_of_the_disk(error):
        return failure_from_error(label, place_error(error, "read or write", error.filename or "a file"))
    if isinstance(error, KeyboardInterrupt):
        return Failure(
            label,
            "interrupted",
            "interrupted",
            "Next: run the same command again; it keeps the finished steps",
            INTERRUPTED,
        )
    return Failure(label, "defect", f"{type(error).__name__}: {error}", None, DEFECT)
