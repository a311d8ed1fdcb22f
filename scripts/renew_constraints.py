"""Renew constraints.txt: choose the newest versions that pyproject.toml allows, test with them, and write them.

    python scripts/renew_constraints.py
    python scripts/renew_constraints.py tests/store tests/stages   # with these tests only

The file is written only if all of these tests pass. The script prints the changes.
Without arguments the tests are those of the README, which take a long time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from environments import ROOT, Deadline, Package, broken_tests, install, make_environment, resolve
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from cosybuild.run.tested_versions import NAME, read_tested

EXTRAS = ("test", "lint", "docs", "joblib", "slurm", "ray", "optuna", "mlflow", "modelscope", "sign")
"""The extras that CI installs; one set of versions must fit all of them."""
TESTS = ("-n", "2", "-m", "not full_size")
_HEAD = """\
# The versions with which cosybuild's tests passed: of the default installation and of the extras
# {extras}.
# Tested with Python {python} on {platform}.
#
#     pip install -c constraints.txt .
#
# A condition after a version says where that version is for: elsewhere pip chooses within the ranges of
# pyproject.toml. What one build of torch brings along (the libraries of CUDA) is not listed: torch names its versions.
# `python scripts/renew_constraints.py` writes this file once the tests have passed with the newest versions.
"""
_ASK = "import json, packaging.markers as m; print(json.dumps(m.default_environment()))"


def constraints_text(packages: list[Package], markers: Mapping[str, str], requirements: list[str]) -> str:
    """Return the text of the file, one line for each package.

    Args:
        packages: the tested packages.
        markers: the environment that it was tested in, as `packaging.markers.default_environment` has it.
        requirements: the project's requirements.
    """
    platform = f"{markers['platform_system']} {markers['platform_machine']}"
    head = _HEAD.format(extras=", ".join(EXTRAS), python=markers["python_version"], platform=platform)
    own = dict(_own_markers(requirements, markers))
    lines = []
    for one in packages:
        marker = own.get(one.name) or " and ".join(_python_markers(one.python))
        lines.append(f"{one.name}=={one.version}{f' ; {marker}' if marker else ''}\n")
    return head + "".join(lines)


def _own_markers(requirements: list[str], markers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Return package -> the condition of the project's requirement that applies in this environment."""
    for text in requirements:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is not None and "extra" not in str(marker) and marker.evaluate(dict(markers)):
            yield canonicalize_name(requirement.name), str(marker)


def _python_markers(python: str) -> Iterator[str]:
    """Return the conditions of a package that does not support all of cosybuild's versions of Python."""
    lowest, end = Version("3.10"), Version("3.14")
    for specifier in sorted(SpecifierSet(python), key=str):
        bound = Version(specifier.version.removesuffix(".*"))
        operator = specifier.operator
        if (operator in (">=", ">") and bound > lowest) or (operator in ("<", "<=") and bound < end):
            yield f'python_full_version {operator} "{specifier.version}"'


def changes(old: Path, new: Path) -> Iterator[str]:
    """Return one line for each package whose version changed."""
    before, after = (read_tested(path).versions if path.exists() else {} for path in (old, new))
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield f"{name}: {before.get(name, '(absent)')} -> {after.get(name, '(absent)')}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="an interpreter; default: this one")
    parser.add_argument("tests", nargs="*", default=TESTS, help="what must pass; default: the README's tests")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory, deadline = Path(temporary), Deadline()
        inside = make_environment(options.python, directory / "venv", deadline)
        try:
            packages = resolve(inside, EXTRAS, deadline)
        except subprocess.CalledProcessError as error:
            print(error.stderr, end="", file=sys.stderr)
            return 1
        new = directory / NAME
        new.write_text("".join(f"{one.name}=={one.version}\n" for one in packages), encoding="utf-8")
        install(inside, EXTRAS, new, deadline)
        asked = deadline.check([str(inside), "-c", _ASK], stdout=subprocess.PIPE).stdout
        requires = "import importlib.metadata as m, json; print(json.dumps(m.requires('cosybuild')))"
        own = deadline.check([str(inside), "-c", requires], stdout=subprocess.PIPE).stdout
        if broken_tests(inside, options.tests, deadline) != []:
            print(f"{NAME} stays as it is: the tests do not pass with the newest versions.", file=sys.stderr)
            return 1
        new.write_text(constraints_text(packages, json.loads(asked), json.loads(own)), encoding="utf-8")
        print("\n".join(changes(ROOT / NAME, new)) or "The newest versions are those that were tested before.")
        beside = ROOT / f".{NAME}.new"
        beside.write_bytes(new.read_bytes())
        beside.replace(ROOT / NAME)
    return 0


if __name__ == "__main__":
    sys.exit(main())
