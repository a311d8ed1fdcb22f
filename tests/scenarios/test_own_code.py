"""The user's own module, whose files change between commands."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cosybuild.cli.nothing_to_do.early_exit import DIRECTORY
from cosybuild.errors import ModelError
from tests.scenarios.commands import Answer

WORDS = (
    "model=module",
    "model.target={_target_: net.Net}",
    "model.inputs=[{name: x, shape: [1, 4, frames]}]",
    "model.outputs=[{name: y, shape: [1, 4, frames]}]",
    "trt_profile.profiles=[{frames: {min: 4, opt: 8, max: 16}}]",
    "trt=none",
    "simplify=none",
    "verify=upstream",
)
NET = """
import torch
from parts import Part
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.part = Part()
    def forward(self, x):
        return self.part(x)
"""
PART = """
import torch
class Part(torch.nn.Module):
    def forward(self, x):
        return x * 2.0
"""


def write(path: Path, text: str) -> None:
    """Write a file and restore its time, so that Python uses the old byte code beside it."""
    times = path.stat()
    path.write_text(text)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def report(here: Path) -> dict[str, Any]:
    (path,) = here.glob("outputs/runs/*/report.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.attack("stale", "what changed is built again")
def test_a_change_of_a_part_rebuilds_it_and_is_named(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes are needed: each finds the files of the module."""
    here = Path.cwd()
    (here / "parts").mkdir()
    (here / "parts" / "__init__.py").write_text("from parts.part import Part\n")
    (here / "parts" / "part.py").write_text(PART)
    (here / "net.py").write_text(NET)
    monkeypatch.syspath_prepend(str(here))
    assert "planning  tracing the files that net.Net uses" in command(*WORDS).out
    first = report(here)
    assert {"net.py", "parts/part.py"} <= set(first["model"]["code"])
    assert list((here / DIRECTORY).iterdir())
    assert command(*WORDS).out.startswith("Nothing to do")
    write(here / "parts" / "part.py", PART.replace("2.0", "3.0"))
    assert "settings.code.parts/part.py: " in command(*WORDS).out
    second = report(here)
    assert [step["action"] for step in second["steps"]] == ["built"] * 3
    assert second["artifacts"][0]["digest"] != first["artifacts"][0]["digest"]


RANDOM = """
import os
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.offset = torch.nn.Parameter(torch.tensor([1e-9 * int.from_bytes(os.urandom(3), "big") / 2**24]))
    def forward(self, x):
        return x + self.offset
"""


@pytest.mark.attack("stale", "the build fails and names the two states")
def test_a_module_that_differs_each_time_by_less_than_the_tolerance_is_refused(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path.cwd()
    (here / "net.py").write_text(RANDOM)
    monkeypatch.syspath_prepend(str(here))
    answer = command(*WORDS)
    assert answer.code == ModelError.exit_code
    assert "model error: net.Net had other parameters or buffers when it was exported" in answer.err
    assert [step["action"] for step in report(here)["steps"]] == ["built", "built", "failed"]
