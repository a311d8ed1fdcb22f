"""A Python that has imported the heavy packages, and forks itself for each command.

Most of the time of a small build is imports: torch, onnx, onnxsim. Here they are imported once for all tests of a
process of pytest. A forked process behaves as one that was started: it has its own arguments, directory, environment,
files and exit code, and ends as Python ends. Nothing of cosybuild is imported before the fork.

`tests.warm.processes` starts this as a script with the address of a socket; it ends when its standard input ends.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

PRELOADED = (
    "torch",
    "torch.onnx.utils",
    "sympy",
    "onnx",
    "onnx_ir",
    "onnxscript",
    "hydra.main",
    "rich.console",
)
"""Modules that most builds import. None reads a variable that a test sets, or starts a thread, which a fork loses:
onnxruntime does, and onnxsim imports it, so each process imports these itself."""


def preload() -> None:
    """Import the installed modules of `PRELOADED`, and exclude their objects from later garbage collections."""
    for name in PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    gc.collect()
    gc.freeze()


def serve(address: str) -> list[str]:
    """Answer requests until standard input ends.

    Returns:
        In a forked process: the module to run and its words. The first process does not return.
    """
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([sys.stdin, listening], [], [])[0]:
            connection, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                return _answer(connection)
            connection.close()
            _reap()
    Path(address).unlink()
    Path(address).parent.rmdir()
    os._exit(0)


def _reap() -> None:
    """Forget the watchers that have ended."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def _answer(connection: socket.socket) -> list[str]:
    """Fork once more, and send the client the process id and then the status."""
    content, files, _, _ = socket.recv_fds(connection, 2**20, 3)
    while not content.endswith(b"\n"):
        content += connection.recv(2**20)
    child = os.fork()
    if child:
        _watch(child, connection)
    connection.close()
    return _become(json.loads(content), files)


def _watch(child: int, connection: socket.socket) -> NoReturn:
    # Ctrl-C of the terminal reaches the child directly.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection.sendall(f"{child}\n".encode())
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    connection.sendall(f"{status}\n".encode())
    os._exit(0)


def _become(asked: dict[str, object], files: list[int]) -> list[str]:
    """Become the requested process."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    words, environment = asked["words"], asked["environment"]
    assert isinstance(words, list)
    assert isinstance(environment, dict)
    before = _search_path(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(str(asked["directory"]))
    # The first path is this file's directory; PYTHONPATH and the installed packages follow.
    sys.path[:] = [str(Path.cwd()), *_search_path(os.environ), *sys.path[1 + len(before) :]]
    importlib.invalidate_caches()
    return words


def _search_path(environment: os._Environ[str]) -> list[str]:
    return [str(Path(part).absolute()) for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part]


if __name__ == "__main__":
    preload()
    module, *arguments = serve(sys.argv[1])
    sys.argv = [module, *arguments]
    # An exception ends this process as it would end `python -m`.
    runpy.run_module(module, run_name="__main__", alter_sys=True)
