"""Test with the lowest or the highest versions of every package that pyproject.toml admits.

    python scripts/try_versions.py lowest
    python scripts/try_versions.py highest --python python3.13
    python scripts/try_versions.py lowest --only-resolve       # which versions those are

A release step (CONTRIBUTING.md). Needs `uv`, which knows how to choose the lowest; pip installs what it chose, so
that whatever pip is configured with holds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESOLUTION = {"lowest": "lowest-direct", "highest": "highest"}
SUBSET = (
    "tests/config",
    "tests/core",
    "tests/models/test_exporters.py",
    "tests/onnxgraph",
    "tests/precision/test_lower.py",
    "tests/runtime/test_estimator.py",
    "tests/stages/test_simplify.py",
    "tests/scenarios/test_every_error.py",
)
"""Whatever uses a package in a way that a version could break."""


def resolve(which: str, python: str, constraints: Path) -> None:
    """Write the versions of all direct and indirect requirements."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    command += ["--resolution", RESOLUTION[which], "--python", python, "--extra", "test"]
    subprocess.run([*command, "--output-file", str(constraints), "pyproject.toml"], cwd=ROOT, check=True)


def install(python: str, constraints: Path, venv: Path) -> Path:
    """An environment with cosybuild and these versions; its interpreter."""
    subprocess.run([python, "-m", "venv", str(venv)], check=True)
    inside = venv / "bin" / "python"
    # As constraints: what this machine's torch does not need, such as the libraries of CUDA, is not installed for it.
    command = [str(inside), "-m", "pip", "install", "--quiet", "--constraint", str(constraints), f"{ROOT}[test]"]
    subprocess.run(command, check=True)
    subprocess.run([str(inside), "-m", "pip", "check"], check=True)
    return inside


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", choices=list(RESOLUTION))
    parser.add_argument("--python", default=sys.executable, help="an interpreter; default: this one")
    parser.add_argument("--only-resolve", action="store_true", help="print the versions and stop")
    parser.add_argument("tests", nargs="*", default=SUBSET, help="what to test; default: a few minutes' worth")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        constraints = Path(temporary) / "constraints.txt"
        resolve(options.which, options.python, constraints)
        if options.only_resolve:
            print(constraints.read_text(encoding="utf-8"), end="")
            return 0
        begun = time.monotonic()
        inside = install(options.python, constraints, Path(temporary) / "venv")
        print(f"{time.monotonic() - begun:.0f} s to install the {options.which} versions", flush=True)
        done = subprocess.run([str(inside), "-m", "pytest", "-n", "0", *options.tests], cwd=ROOT, check=False)
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
