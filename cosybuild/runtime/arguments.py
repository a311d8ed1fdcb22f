"""Checks of the arguments of loaders: invalid ones would otherwise fail, or be ignored, at the first call."""

from __future__ import annotations

from typing import Any

from cosybuild.errors import ServingError


def check_arguments(concurrency: Any, timeout: Any, threads: Any) -> None:
    """Check the arguments that all loaders have.

    Raises:
        ServingError: an argument has an invalid value.
    """
    if not _is_whole(concurrency) or concurrency < 1:
        raise ServingError(f"concurrency={concurrency!r} gives no execution context; at least 1 is expected.")
    if not _is_whole(threads) or threads < 0:
        raise ServingError(f"threads={threads!r}; a whole number is expected, 0 for ONNX Runtime's own choice.")
    if timeout is not None and not (isinstance(timeout, int | float) and timeout >= 0):
        raise ServingError(f"timeout={timeout!r}; seconds are expected, or None to wait without a limit.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
