"""The interface of all backends, so that code that compares or times artifacts does not depend on one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from cosybuild.system.memory import ran_out_of_memory

Array = np.ndarray[Any, np.dtype[Any]]


class InferenceFailed(RuntimeError):
    """The artifact cannot be run on these inputs; the message is one line."""


def failed_inference(error: Exception, words: str) -> Exception:
    """Return the exception to raise for a library's error; lack of memory is no fault of the artifact.

    Args:
        error: the library's error.
        words: the error in one line.

    Returns:
        MemoryError if memory ran out, else InferenceFailed.
    """
    return MemoryError(words) if ran_out_of_memory(error) else InferenceFailed(words)


class Session(Protocol):
    """A loaded artifact; each backend module has `load(...) -> Session`."""

    @property
    def device(self) -> str:
        """The backend with its version and device, for reports, e.g. `onnxruntime 1.31.1 CPUExecutionProvider`."""

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the artifact and return all outputs by name, in the artifact's order.

        Args:
            inputs: one array per input, with the artifact's shapes and dtypes.

        Raises:
            InferenceFailed: the artifact does not take a shape, or the computation failed.
            MemoryError: memory ran out.
        """
