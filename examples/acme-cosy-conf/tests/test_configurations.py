"""Every option can be composed and has a description."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONF = Path(__file__).parents[1] / "acme_cosy_conf" / "conf"
OPTIONS = sorted(path.relative_to(CONF) for path in CONF.rglob("*.yaml"))


def group_and_name(path: Path) -> tuple[str, str]:
    return path.parts[0], "/".join(path.parts[1:]).removesuffix(".yaml")


@pytest.mark.parametrize("path", OPTIONS, ids=str)
def test_it_composes(path: Path) -> None:
    group, name = group_and_name(path)
    command = [sys.executable, "-m", "cosybuild", "options", "--config-dir", str(CONF), f"{group}={name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", OPTIONS, ids=str)
def test_it_says_what_it_is_for(path: Path) -> None:
    lines = (CONF / path).read_text(encoding="utf-8").splitlines()
    comments = [line for line in lines[:2] if line.startswith("# ") and not line.startswith("# @package")]
    assert comments
