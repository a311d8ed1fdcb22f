"""Checks of the arguments of the loaders, so that an invalid value fails at loading and not at the first call."""

from __future__ import annotations

import threading
from typing import Any

from cosybuild.errors import ServingError

MOST_CALLERS, MOST_THREADS = 10_000, 4096
"""Upper limits of `concurrency` (execution contexts) and of `threads` (CPU threads of one run).

Larger numbers would exhaust the machine's memory.
"""


def check_arguments(concurrency: Any, timeout: Any, threads: Any) -> None:
    """Check the three arguments that all loaders share.

    Args:
        concurrency: number of execution contexts, 1 to `MOST_CALLERS`.
        timeout: seconds that a caller waits for a context, or None for no limit.
        threads: CPU threads of one run, 0 to `MOST_THREADS`; 0 leaves the number to the runtime.

    Raises:
        ServingError: an argument has an invalid value.
    """
    if not _is_whole(concurrency) or concurrency < 1:
        raise ServingError(f"concurrency={concurrency!r} gives no execution context; at least 1 is expected.")
    if concurrency > MOST_CALLERS:
        raise ServingError(f"concurrency={concurrency}; at most {MOST_CALLERS} is expected.")
    if not _is_whole(threads) or not 0 <= threads <= MOST_THREADS:
        raise ServingError(f"threads={threads!r}; 0 to {MOST_THREADS} is expected, 0 for ONNX Runtime's own choice.")
    if timeout is not None and not (isinstance(timeout, int | float) and 0 <= timeout <= threading.TIMEOUT_MAX):
        raise ServingError(f"timeout={timeout!r}; seconds are expected, or None to wait without a limit.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
