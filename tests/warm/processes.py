"""Whole commands in processes of their own, for which the heavy packages are imported once."""

from __future__ import annotations

import atexit
import functools
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.warm.client import Warm, imports_much, starts_alike
from tests.warm.server import PRELOADED

_HERE = Path(__file__).parent
_SECONDS = 540
# The environment before any test changes it. Models of this size are slower with threads.
_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def run_python(words: Sequence[str], directory: Path, environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Run `python` with these words and wait for its end.

    A build is forked from a process that has imported the heavy packages, if that makes no difference:
    its variables are those of that process, and PYTHONPATH contains no other package of these names.

    Args:
        directory: the working directory.
        environment: all variables.

    Returns:
        The exit code (negative: the signal that ended the process), standard output and standard error.
    """
    if imports_much(words) and _can_be_forked(directory, environment):
        return _forked(words[1:], directory, environment)
    done = subprocess.run(
        [sys.executable, *words],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def write_python(directory: Path) -> None:
    """Write a script `python` for PATH: it forks builds, and starts the real Python for other commands."""
    if not sys.platform.startswith("linux"):
        return
    script = directory / "python"
    words = (sys.executable, "-IS", str(_HERE / "client.py"), _server())
    script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
    script.chmod(0o755)


def _can_be_forked(directory: Path, environment: Mapping[str, str]) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    packages = {name.partition(".")[0] for name in PRELOADED}
    places = [directory / place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place]
    others = any((place / name).exists() for place in places for top in packages for name in (top, f"{top}.py"))
    return not others and starts_alike(environment, _ENVIRONMENT)


def _forked(words: Sequence[str], directory: Path, environment: Mapping[str, str]) -> tuple[int, str, str]:
    with ExitStack() as opened:
        out, err = (opened.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in range(2))
        nothing = opened.enter_context(Path(os.devnull).open())
        files = [file.fileno() for file in (nothing, out, err)]
        process = Warm(_server(), words, str(directory), environment, files)
        try:
            code = process.wait(_SECONDS)
        except BaseException:  # after a timeout or Ctrl-C no process stays
            os.kill(process.pid, signal.SIGKILL)
            raise
        for file in (out, err):
            file.seek(0)
        return code, out.read(), err.read()


@functools.cache
def _server() -> str:
    """Return the address of this process's server, which the first command starts."""
    address = str(Path(tempfile.mkdtemp(prefix="warm-")) / "s")
    command = [sys.executable, str(_HERE / "server.py"), address]
    server = subprocess.Popen(command, env=_ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    # It ends with this process, however this process ends.
    atexit.register(server.stdin.close)
    assert server.stdout.readline() == b"ready\n"
    return address
