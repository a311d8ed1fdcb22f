"""The package versions with which cosybuild's tests passed (constraints.txt), compared with the installed ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cosybuild.shipped import shipped
from cosybuild.system.environment import Environment

NAME = "constraints.txt"
_TESTED = re.compile(r"^# Tested with Python (\d+\.\d+) on (.+)\.$", flags=re.MULTILINE)


@dataclass(frozen=True)
class Tested:
    """The content of constraints.txt.

    Attributes:
        path: the path of the file, for `pip install -c PATH`.
        python: the version of Python, e.g. `3.11`.
        platform: the kind of machine, e.g. `Linux x86_64`.
        versions: distribution -> version, from the lines that apply to this Python and platform.
    """

    path: Path
    python: str
    platform: str
    versions: Mapping[str, str]

    def differences(self, environment: Environment) -> dict[str, tuple[str, str]]:
        """Return distribution -> (installed version, tested version) for the distributions whose versions differ.

        A local version label is ignored: `2.13.0+cpu` equals 2.13.0. Distributions that are not installed are left out.
        """
        found = {}
        for name, tested in self.versions.items():
            installed = environment.version(name)
            if installed is not None and installed.partition("+")[0] != tested:
                found[name] = (installed, tested)
        return found


def read_tested(path: Path | None = None) -> Tested:
    """Read a constraints file; if `path` is None, read the file that comes with cosybuild."""
    path = shipped(NAME) if path is None else path
    text = path.read_text(encoding="utf-8")
    said = _TESTED.search(text)
    assert said is not None, f"{path} does not say what it was tested with"
    return Tested(path, said[1], said[2], _versions(text))


def _versions(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].strip()
        if words:
            requirement = Requirement(words)
            if requirement.marker is None or requirement.marker.evaluate():
                (specifier,) = requirement.specifier
                found[canonicalize_name(requirement.name)] = specifier.version
    return found
