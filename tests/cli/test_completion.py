"""The completion that docs/sharing.md describes, called as bash does when Tab is pressed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent

SCRIPT = """
eval "$(cosybuild -sc install=bash)"
function=$(complete -p cosybuild | sed 's/.*-F \\([^ ]*\\).*/\\1/')
for line in "$@"; do
    COMPREPLY=(); COMP_LINE=$line; COMP_POINT=${#line}; COMP_CWORD=1
    $function
    echo "${COMPREPLY[@]}"
done
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.skipif(not (BIN / "cosybuild").is_file(), reason="the command is not installed beside this Python")
def test_groups_options_and_settings_are_completed(tmp_path: Path) -> None:
    lines = ["cosybuild export=opset1", "cosybuild trt_profile.na", "cosybuild hydra/launcher=ba"]
    done = subprocess.run(
        ["bash", "-c", SCRIPT, "bash", *lines],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "export=opset17 export=opset18",
        "trt_profile.name=",
        "hydra/launcher=basic",
    ], done.stderr
    assert list(tmp_path.iterdir()) == []
