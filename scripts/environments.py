"""Environments for tests of cosybuild: the packages that pip chooses, an environment with them, and test runs in it.

`try_versions.py` and `renew_constraints.py` share it. It runs pip, so pip's configuration applies.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "cosybuild"


class TooLate(Exception):
    """The time limit is over."""


class Deadline:
    """A time limit, at which a command and its children are ended.

    Args:
        minutes: the time from now; None means no limit.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    def run(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout.

        Raises:
            TooLate: the command did not end in time.
        """
        left = None if self._end is None else max(0.0, self._end - time.monotonic())
        with subprocess.Popen(command, cwd=ROOT, text=True, start_new_session=True, **options) as process:
            try:
                out, err = process.communicate(timeout=left)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise TooLate(" ".join(command[:4])) from error
                raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def check(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command that must succeed.

        Raises:
            TooLate: the command did not end in time.
            subprocess.CalledProcessError: the command failed.
        """
        done = self.run(command, **options)
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        return done


@dataclass(frozen=True)
class Package:
    """One package that pip has chosen.

    Attributes:
        version: without the label of a local build: `2.13.0` for `2.13.0+cpu`.
        python: the versions of Python that it is for, as its metadata has it; may be empty.
        requires: its requirements, as its metadata has them.
    """

    name: str
    version: str
    python: str
    requires: tuple[str, ...]


def make_environment(python: str, directory: Path, deadline: Deadline) -> Path:
    """Make an empty environment, and return its interpreter."""
    deadline.check([python, "-m", "venv", str(directory)])
    return directory / ("Scripts" if os.name == "nt" else "bin") / "python"


def resolve(inside: Path, extras: Iterable[str], deadline: Deadline) -> list[Package]:
    """Return the newest packages that the ranges in pyproject.toml allow; nothing is installed.

    Packages that only torch asks for, with an exact version, are left out: they belong to one build of torch (the
    libraries of CUDA), and each build brings its own.
    """
    command = [str(inside), "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    done = deadline.check([*command, wanted(extras)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return packages_of(json.loads(done.stdout), extras)


def packages_of(report: Mapping[str, Any], extras: Iterable[str]) -> list[Package]:
    """Return the packages of a report of pip that cosybuild with these extras needs, sorted by name."""
    found = {}
    for item in report["install"]:
        facts = item["metadata"]
        name = canonicalize_name(facts["name"])
        version = Version(facts["version"]).public
        requires = tuple(facts.get("requires_dist") or ())
        found[name] = Package(name, version, facts.get("requires_python") or "", requires)
    needed = set(_needed(found, tuple(extras), report["environment"]))
    return [found[name] for name in sorted(needed)]


def _needed(found: Mapping[str, Package], extras: tuple[str, ...], markers: Mapping[str, str]) -> Iterator[str]:
    todo, seen = [(PROJECT, extras)], set()
    while todo:
        name, chosen = todo.pop()
        for text in found[name].requires:
            requirement = Requirement(text)
            other = canonicalize_name(requirement.name)
            marker = requirement.marker
            applies = marker is None or any(marker.evaluate({**markers, "extra": extra}) for extra in ("", *chosen))
            pinned = any(specifier.operator == "==" for specifier in requirement.specifier)
            step = other, tuple(sorted(requirement.extras))
            if other in found and applies and step not in seen and not (name == "torch" and pinned):
                seen.add(step)
                todo.append(step)
                yield other


def install(inside: Path, extras: Iterable[str], constraints: Path, deadline: Deadline) -> None:
    """Put cosybuild into an environment, with the versions of a file of constraints."""
    # As constraints: a package that this machine's torch does not need is not installed for it.
    command = [str(inside), "-m", "pip", "install", "-qq", "--constraint", str(constraints), wanted(extras)]
    deadline.check(command)
    deadline.check([str(inside), "-m", "pip", "check"])


def wanted(extras: Iterable[str]) -> str:
    """Return the checkout with extras, in pip's notation."""
    chosen = ",".join(extras)
    return f"{ROOT}[{chosen}]" if chosen else str(ROOT)


def broken_tests(inside: Path, words: Sequence[str], deadline: Deadline) -> list[str] | None:
    """Run the tests, and return those that fail, as pytest reports them; None if pytest itself failed.

    Raises:
        TooLate: the tests did not end in time.
    """
    with tempfile.TemporaryDirectory() as temporary:
        results = Path(temporary) / "results.xml"
        command = [str(inside), "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={results}", *words]
        done = deadline.run(command)
        return [] if done.returncode == 0 else _failed(results) or None


def _failed(results: Path) -> list[str]:
    if not results.exists():
        return []
    cases = ElementTree.parse(results).iter("testcase")  # noqa: S314  # pytest has just written it
    failed = (case for case in cases if case.find("failure") is not None or case.find("error") is not None)
    return sorted({f"{case.get('classname')}::{case.get('name')}" for case in failed})
