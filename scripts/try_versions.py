"""Test with the lowest or the highest versions of every package that pyproject.toml admits.

    python scripts/try_versions.py lowest
    python scripts/try_versions.py highest --python python3.13
    python scripts/try_versions.py lowest --only-resolve       # which versions those are
    python scripts/try_versions.py highest --report --minutes 12   # for CI: says what breaks, and ends with 0

Both tests are a release step (CONTRIBUTING.md). The lowest versions need `uv`, which can choose them. With
`--report` nothing is installed where the highest are those of constraints.txt, with which CI has tested already.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from environments import ROOT, Deadline, Package, TooLate, broken_tests, install, make_environment, resolve

from cosybuild.run.tested_versions import read_tested

EXTRAS = ("test",)
SUBSET = (
    "tests/config",
    "tests/building",
    "tests/store",
    "tests/system",
    "tests/models/test_exporters.py",
    "tests/onnxgraph",
    "tests/precision/test_lower.py",
    "tests/runtime/test_estimator.py",
    "tests/stages/test_simplify.py",
    "tests/scenarios/test_every_error.py",
)
"""Tests of code that uses packages in a way that another version could break."""


def write_lowest(python: str, constraints: Path) -> None:
    """Write the lowest versions of all direct requirements, and versions of their requirements."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    command += ["--resolution", "lowest-direct", "--python", python, *(f"--extra={extra}" for extra in EXTRAS)]
    subprocess.run([*command, "--output-file", str(constraints), "pyproject.toml"], cwd=ROOT, check=True)


def write_highest(packages: list[Package], constraints: Path) -> None:
    constraints.write_text("".join(f"{one.name}=={one.version}\n" for one in packages), encoding="utf-8")


def differences(packages: list[Package]) -> list[str]:
    """Return the packages that are newer than in constraints.txt, or missing there: `name tested -> newest`."""
    tested = read_tested().versions
    return [
        f"{one.name} {tested.get(one.name, '(absent)')} -> {one.version}"
        for one in packages
        if tested.get(one.name) != one.version
    ]


def report(options: argparse.Namespace, directory: Path) -> str:
    """Try the highest versions, and return the result in one line."""
    deadline = Deadline(options.minutes)
    told = "not looked for"
    try:
        inside = make_environment(options.python, directory / "venv", deadline)
        packages = resolve(inside, EXTRAS, deadline)
        differ = differences(packages)
        if not differ:
            return "they are those of constraints.txt, nothing is to be tried."
        told = f"{len(differ)} differ from constraints.txt ({', '.join(differ)})"
        constraints = directory / "constraints.txt"
        write_highest(packages, constraints)
        install(inside, EXTRAS, constraints, deadline)
        broken = broken_tests(inside, ["-n", "0", *options.tests], deadline)
    except TooLate as late:
        return f"{told}; {options.minutes:g} minutes were not enough for: {late}"
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or "").strip().splitlines() or [f"it ended with {error.returncode}"]
        return f"{told}; `{' '.join(error.cmd[1:4])}` failed: {lines[-1]}"
    if broken is None:
        return f"{told}; pytest did not run to its end."
    return f"{told}; {'the tests pass.' if not broken else f'broken: {chr(32).join(broken)}'}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", choices=["lowest", "highest"])
    parser.add_argument("--python", default=sys.executable, help="an interpreter; default: this one")
    parser.add_argument("--only-resolve", action="store_true", help="print the versions and stop")
    parser.add_argument("--report", action="store_true", help="end with 0 and a line that says what breaks (highest)")
    parser.add_argument("--minutes", type=float, default=12, help="how long --report may take; default: 12")
    parser.add_argument("tests", nargs="*", default=SUBSET, help="what to test; default: a few minutes' worth")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        if options.report:
            print(f"newest versions: {report(options, directory)}", flush=True)
            return 0
        constraints, deadline = directory / "constraints.txt", Deadline()
        inside = make_environment(options.python, directory / "venv", deadline)
        if options.which == "lowest":
            write_lowest(options.python, constraints)
        else:
            write_highest(resolve(inside, EXTRAS, deadline), constraints)
        if options.only_resolve:
            print(constraints.read_text(encoding="utf-8"), end="")
            return 0
        begun = time.monotonic()
        install(inside, EXTRAS, constraints, deadline)
        print(f"{time.monotonic() - begun:.0f} s to install the {options.which} versions", flush=True)
        return 0 if broken_tests(inside, ["-n", "0", *options.tests], deadline) == [] else 1


if __name__ == "__main__":
    sys.exit(main())
