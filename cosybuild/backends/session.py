"""The one shape of all backends, so that whoever compares or times them needs to know none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from cosybuild.core.memory import ran_out_of_memory

Array = np.ndarray[Any, np.dtype[Any]]


class InferenceFailed(RuntimeError):
    """The artifact cannot be run on these inputs; the message is one line."""


def failed_inference(error: Exception, words: str) -> Exception:
    """What to raise for a library's error: a lack of memory says nothing about the artifact.

    Args:
        words: the error in one line.
    """
    return MemoryError(words) if ran_out_of_memory(error) else InferenceFailed(words)


class Session(Protocol):
    """A loaded artifact. Each backend module has `load(...) -> Session`."""

    @property
    def device(self) -> str:
        """What computes, for reports, e.g. `onnxruntime 1.31.1 CPUExecutionProvider`."""

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name, in the artifact's order.

        Args:
            inputs: one array an input, in the artifact's shapes and dtypes.

        Raises:
            InferenceFailed: a shape it does not take, or a computation it cannot finish.
            MemoryError: there is not enough memory for it.
        """
