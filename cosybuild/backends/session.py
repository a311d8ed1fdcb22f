"""The interface of all backends. Code that compares or times artifacts uses it and depends on no single backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from cosybuild.system.memory import ran_out_of_memory

Array = np.ndarray[Any, np.dtype[Any]]


class InferenceFailed(RuntimeError):
    """An artifact cannot be run on the given inputs. The message is one line."""


def failed_inference(error: Exception, words: str) -> Exception:
    """Return the exception to raise for an error of a runtime. If memory ran out, this is no fault of the artifact.

    Args:
        error: the runtime's error.
        words: the error's text in one line.

    Returns:
        MemoryError if memory ran out, else InferenceFailed.
    """
    return MemoryError(words) if ran_out_of_memory(error) else InferenceFailed(words)


class Session(Protocol):
    """A loaded artifact that can be run. Each backend module has a function `load` that returns one."""

    @property
    def device(self) -> str:
        """The backend with its version and device, for reports, e.g. `onnxruntime 1.31.1 CPUExecutionProvider`."""

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the artifact and return all outputs by name, in the artifact's order.

        Args:
            inputs: input name -> array, with the artifact's shapes and types.

        Raises:
            InferenceFailed: the artifact does not accept a shape, or the computation failed.
            MemoryError: memory ran out.
        """
