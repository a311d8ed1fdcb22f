"""Installed distributions: which one a file belongs to, and what identifies its content."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

SITES = ("site-packages", "dist-packages")
"""Names of the directories that installers write to."""

# Rows of a RECORD that differ from one machine to the next although the package is the same.
_OF_THE_MACHINE = ("INSTALLER", "REQUESTED", "direct_url.json", "RECORD")


def site_of(path: str) -> Path | None:
    """The installation directory on the import path that holds a file, or None."""
    for entry in sys.path:
        if Path(entry).name in SITES and path.startswith(f"{entry}/"):
            return Path(entry)
    return None


def owner_of(file: Path) -> str | None:
    """Name of the distribution that brought a file; None for one that no distribution lists.

    An editable installation does not list its files.
    """
    site = site_of(str(file))
    if site is None:
        return None
    inside = file.relative_to(site)
    try:  # most packages are called as their distribution
        candidates = [importlib.metadata.distribution(inside.parts[0].removesuffix(".py"))]
    except importlib.metadata.PackageNotFoundError:
        candidates = []
    for distribution in (*candidates, *importlib.metadata.distributions()):
        if any(name == inside.as_posix() for name, _ in _rows(distribution)):
            return canonicalize_name(distribution.metadata["Name"])
    return None


def owners() -> dict[str, str]:
    """Path of every file that a distribution lists -> the distribution's name."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        site = str(distribution.locate_file(""))
        for file, _ in _rows(distribution):
            found.setdefault(f"{site}/{file}", name)
    return found


def fingerprint(name: str) -> str:
    """Version of a distribution and a digest of the list of its files; `absent` where it is not installed.

    The list holds a sha256 of every file as it was installed. A file that was edited afterwards is not seen.
    """
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
    digest = hashlib.sha256("\n".join(f"{file} {sha}" for file, sha in sorted(_rows(distribution))).encode())
    return f"{distribution.version} {digest.hexdigest()[:16]}"


def requirements_of(name: str) -> tuple[str, ...]:
    """A distribution and all installed ones that it requires, directly or through others, without extras."""
    found: set[str] = set()
    waiting: list[str] = [canonicalize_name(name)]
    while waiting:
        one = waiting.pop()
        if one in found:
            continue
        try:
            distribution = importlib.metadata.distribution(one)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(one)
        waiting.extend(_required(distribution))
    return tuple(sorted(found))


def _required(distribution: Distribution) -> Iterator[str]:
    for text in distribution.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)


def _rows(distribution: Distribution) -> Iterator[tuple[str, str]]:
    """(path below the installation directory, hash) of the files of a package, the same on every machine."""
    for row in (distribution.read_text("RECORD") or "").splitlines():
        file, _, rest = row.partition(",")
        # What lies above, such as scripts, holds the path of the interpreter; byte code holds times.
        if file.startswith(("..", "/")) or file.endswith(".pyc"):
            continue
        if ".dist-info/" in file and PurePosixPath(file).name in _OF_THE_MACHINE:
            continue
        yield file.strip('"'), rest.partition(",")[0]
