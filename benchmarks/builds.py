"""Real builds of a very small model in separate processes, for the benchmarks of kills and races.

Importing torch, onnx and ONNX Runtime takes longer than such a build, and nothing can go wrong with a store
meanwhile. So the parent imports them once and forks: the child runs the whole command line, in a directory of its
own, from the first word to the exit code. Builds may also be whole processes, `python -m cosybuild ...`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before torch is imported: threads of a pool do not survive a fork, and builds this small need none.
os.environ["OMP_NUM_THREADS"] = "1"

import hydra  # noqa: F401 - imported to be there after the fork, like the others that are not used
import onnx  # noqa: F401
import onnxruntime  # noqa: F401
import onnxscript  # noqa: F401
import onnxsim  # noqa: F401
import torch
import torch.onnx

import cosybuild.cli.build  # noqa: F401
from cosybuild.__main__ import main
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.models.load import load_network
from cosybuild.models.resolve import resolve_subject

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "tests" / "data" / "cosyvoice2_tiny" / "cosyvoice2.yaml"
SETTINGS = ("trt=none", "verify=upstream", "trt_profile.profiles=[{seq_len: {min: 4, opt: 8, max: 12}}]")
VARYING = ("verify",)
"""Stages whose record has rounding errors, which differ each time."""


def make_model(directory: Path) -> Path:
    """Make a CosyVoice 2 model directory with one block of each kind."""
    directory.mkdir()
    text = TINY.read_text(encoding="utf-8")
    small = text.replace("    n_blocks: 2", "    n_blocks: 1").replace("num_mid_blocks: 2", "num_mid_blocks: 1")
    assert small.count("blocks: 1") == 2
    (directory / TINY.name).write_text(small, encoding="utf-8")
    parameters = {
        "in_channels": 32,
        "out_channels": 8,
        "channels": [16],
        "n_blocks": 1,
        "num_mid_blocks": 1,
        "num_heads": 2,
        "attention_head_dim": 8,
        "static_chunk_size": 10,
    }
    subject = resolve_subject(ModelSettings(family=Family.cosyvoice2, hyperparameters=parameters), None, False)
    state = load_network(subject, None).state_dict()
    torch.save({f"decoder.estimator.{name}": value for name, value in state.items()}, directory / "flow.pt")
    return directory


@dataclass
class Build:
    """A running build; its output is written to `log`."""

    pid: int
    log: Path

    def wait(self) -> int:
        """Wait for the end, and return the exit code, or minus the signal that ended the process."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def ended(self) -> bool:
        """Return True if the process has ended, without reaping it."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def start(place: Path, words: list[str], log: Path, *, ready: Callable[[], None] = lambda: None) -> Build:
    """Fork a process that builds `words` in `place`.

    Args:
        ready: function that the child calls before the build begins.
    """
    pid = os.fork()
    if pid:
        return Build(pid, log)
    code = 70
    try:
        os.chdir(place)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        ready()
        code = main(words)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        # The child must not run the parent's handlers or remove its directories.
        os._exit(code)


def start_whole(place: Path, words: list[str], log: Path) -> Build:
    """Start a new Python process that builds `words` in `place`."""
    with log.open("wb") as output:
        command = [sys.executable, "-m", "cosybuild", *words]
        process = subprocess.Popen(command, cwd=place, stdout=output, stderr=subprocess.STDOUT)
    pid = process.pid
    process.returncode = 0  # `wait` waits for its id
    return Build(pid, log)


def report_of(place: Path) -> Mapping[str, Any]:
    """Return the report of the only run in `place`."""
    (path,) = place.glob("outputs/runs/*/report.json")
    report: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def results_of(report: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """Return digest of each step's key -> slot -> digests of its files, for results that are the same each time."""
    results = {}
    for step in report["steps"]:
        digests = {slot: [file["digest"] for file in a["files"]] for slot, a in step["outputs"].items()}
        results[step["key"]["digest"]] = {} if step["stage"] in VARYING else digests
    return results
