"""A forked `python -m` behaves as one that was started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.warm.processes import run_python, write_python

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="commands are forked on Linux only")

PROGRAM = """
import atexit, json, os, signal, sys, threading
atexit.register(print, "at the end")
ours = [name for name in sys.modules if name.partition(".")[0] in ("cosybuild", "tests", "pytest")]
print(json.dumps([sys.argv, sys.path, os.getcwd(), dict(os.environ), sys.executable, list(sys.flags)]))
print(ours, __name__, __package__, threading.active_count(), os.getpgrp(), repr(sys.stdin.read()))
print(sys.stdout.encoding, sys.stdout.line_buffering, sys.stderr.encoding, sys.stderr.line_buffering)
print(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGCHLD), signal.getsignal(signal.SIGPIPE))
print("torch" in sys.modules, file=sys.stderr)
sys.stdout.flush()
exec(sys.argv[2])
"""
ENDS = {
    "by itself": "",
    "with a code": "sys.exit(7)",
    "with a message": "sys.exit('a message')",
    "with an error": "raise ValueError('wrong')",
    "by a signal": "os.kill(os.getpid(), signal.SIGKILL)",
    "by Ctrl-C": "os.kill(os.getpid(), signal.SIGINT)",
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which `cosybuild` is a module that prints its environment."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "cosybuild.py").write_text(PROGRAM, encoding="utf-8")
    path = os.pathsep.join(["package", *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "ANOTHER": "größer"}


@pytest.mark.parametrize("how", ENDS)
def test_a_forked_process_sees_and_returns_the_same_as_a_started_one(
    tmp_path: Path, environment: dict[str, str], how: str
) -> None:
    words = ["-m", "cosybuild", "a=b", ENDS[how], "größer", ""]
    code, out, err = run_python(words, tmp_path, environment)
    started = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (code, out) == (started.returncode, started.stdout)
    (forked, *told), (here, *expected) = err.splitlines(), started.stderr.splitlines()
    assert (forked, here) == ("True", "False")
    # Tracebacks differ in the lines of the caller.
    assert told[-1:] == expected[-1:]


def test_a_command_with_another_environment_is_started_instead_of_forked(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    shadow = tmp_path / "package" / "torch.py"
    shadow.touch()
    assert run_python(["-m", "cosybuild", "a=b", ""], tmp_path, environment)[2] == "False\n"
    shadow.unlink()
    assert run_python(["-m", "cosybuild", "a=b", ""], tmp_path, {**environment, "PYTHONUTF8": "1"})[2] == "False\n"
    assert run_python(["-m", "cosybuild", "a=b", ""], tmp_path, environment)[2] == "True\n"


def test_a_shell_finds_the_forking_program_as_python(tmp_path: Path, environment: dict[str, str]) -> None:
    write_python(tmp_path)
    environment["PATH"] = f"{tmp_path}{os.pathsep}{environment['PATH']}"

    def shell(script: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", "-c", f"{script} < /dev/null"]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    done = shell("python -m cosybuild a=b 'sys.exit(3)' a")
    assert (done.returncode, done.stdout.splitlines()[-1], done.stderr) == (3, "at the end", "True\n")
    assert shell("python -c 'print(5)'").stdout == "5\n"
    # A shell that stays the parent of its last command returns 137 for the signal.
    assert shell("python -m cosybuild a=b 'os.kill(os.getpid(), 9)'").returncode in (-9, 137)
