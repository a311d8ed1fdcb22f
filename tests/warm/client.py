"""Runs `python -m MODULE` in a fork of a Python that has imported the heavy packages; see `tests.warm.server`.

As a script, `client.py ADDRESS -m MODULE WORDS`, it stands in for `python` in a shell's commands. It is loaded at every
such start, so it imports little.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "OMP_", "MKL_", "OPENBLAS_", "ATEN_", "ONEDNN_", "TORCH_")
"""Variables that Python and the packages read when they start, except PYTHONPATH, which is read again."""


class Warm:
    """A process that was forked.

    Attributes:
        pid: the process id.
    """

    def __init__(
        self,
        address: str,
        words: Sequence[str],
        directory: str,
        environment: Mapping[str, str],
        files: Sequence[int] = (0, 1, 2),
    ) -> None:
        """Start `python -m` with a module and its arguments.

        Args:
            address: the address of the server.
            directory: the working directory.
            files: standard input, output and error.
        """
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(address)
        asked = {"words": list(words), "directory": directory, "environment": dict(environment)}
        content = json.dumps(asked).encode() + b"\n"
        sent = socket.send_fds(self._connection, [content], list(files))
        self._connection.sendall(content[sent:])
        self._answers = self._connection.makefile()
        self.pid = int(self._answers.readline())

    def wait(self, seconds: float | None = None) -> int:
        """Wait for the end and return the exit code; a negative one is the signal that ended the process.

        Raises:
            TimeoutError: the process has not ended in this time.
        """
        self._connection.settimeout(seconds)
        code = int(self._answers.readline())
        self._answers.close()
        self._connection.close()
        return code


def starts_alike(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Return True if Python and the packages start in the same way in both environments."""
    names = {name for name in {*one, *other} if name.startswith(READ_AT_START) and name != "PYTHONPATH"}
    return all(one.get(name) == other.get(name) for name in names)


def imports_much(words: Sequence[str]) -> bool:
    """Return True if these words of `python` load heavy packages; other verbs start faster without a fork."""
    if tuple(words[:2]) != ("-m", "cosybuild"):
        return False
    first = words[2] if len(words) > 2 else "="
    return "=" in first or first.startswith("-") or first in ("doctor", "replay")


def _stand_in(address: str, words: list[str]) -> None:
    if not imports_much(words):
        os.execv(sys.executable, [sys.executable, *words])
    code = Warm(address, words[1:], os.getcwd(), os.environ).wait()  # noqa: PTH109  # as above
    if code < 0:
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    _stand_in(sys.argv[1], sys.argv[2:])
