"""Installed distributions (packages of pip): which one owns a file, and a digest of the content of one."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath

from packaging.utils import canonicalize_name

SITES = ("site-packages", "dist-packages")
"""Names of the directories in which installers put packages."""

# Files in the RECORD of a distribution that differ between machines although the distribution is the same.
_OF_THE_MACHINE = ("INSTALLER", "REQUESTED", "direct_url.json", "RECORD")


def site_of(path: str) -> Path | None:
    """Return the installation directory on the import path that contains the file `path`, or None."""
    for entry in sys.path:
        if Path(entry).name in SITES and path.startswith(f"{entry}/"):
            return Path(entry)
    return None


def owner_of(file: Path) -> str | None:
    """Return the name of the distribution whose RECORD lists a file; None if there is none.

    An editable installation does not list its source files.
    """
    site = site_of(str(file))
    if site is None:
        return None
    inside = file.relative_to(site)
    try:  # most packages have the name of their distribution
        candidates = [importlib.metadata.distribution(inside.parts[0].removesuffix(".py"))]
    except importlib.metadata.PackageNotFoundError:
        candidates = []
    for distribution in (*candidates, *importlib.metadata.distributions()):
        name = _name_of(distribution)
        if name is not None and any(file == inside.as_posix() for file, _ in _rows(distribution)):
            return name
    return None


def owners() -> dict[str, str]:
    """Return the name of the distribution for the path of every file that a distribution's RECORD lists."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        if (name := _name_of(distribution)) is None:
            continue
        site = str(distribution.locate_file(""))
        for file, _ in _rows(distribution):
            found.setdefault(f"{site}/{file}", name)
    return found


def fingerprint(name: str) -> str:
    """Return the version of a distribution and a digest of its list of files; `absent` if it is not installed.

    The list (RECORD) has the sha256 of every file as it was installed. If a file was edited after the installation, the
    result does not change.
    """
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
    digest = hashlib.sha256("\n".join(f"{file} {sha}" for file, sha in sorted(_rows(distribution))).encode())
    return f"{distribution.version} {digest.hexdigest()[:16]}"


def requirements_of(name: str) -> tuple[str, ...]:
    """Return the names of a distribution and of all installed distributions that it requires, directly or indirectly.

    The requirements of the distribution's own extras are included, because it uses them if they are installed. The
    extras of the other distributions are not included.
    """
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
        waiting.extend(_required(distribution, extras=not found))
        found.add(one)
    return tuple(sorted(found))


def _name_of(distribution: Distribution) -> str | None:
    """Return the normalised name of a distribution; None if its metadata has no name, as after a partial removal."""
    name: str | None = distribution.metadata["Name"] if distribution.metadata is not None else None
    return None if name is None else canonicalize_name(name)


def _required(distribution: Distribution, *, extras: bool) -> Iterator[str]:
    from packaging.requirements import InvalidRequirement, Requirement  # takes 36 ms, and few plans need it

    stated = distribution.metadata.get_all("Provides-Extra") if extras and distribution.metadata is not None else None
    for text in distribution.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": one}) for one in ("", *(stated or ()))
        ):
            yield canonicalize_name(requirement.name)


def _rows(distribution: Distribution) -> Iterator[tuple[str, str]]:
    """Yield the path below the installation directory and the hash of each file that is equal on every machine."""
    for row in (distribution.read_text("RECORD") or "").splitlines():
        file, _, rest = row.partition(",")
        # Files outside, such as scripts, contain the path of the interpreter; byte code contains times.
        if file.startswith(("..", "/")) or file.endswith(".pyc"):
            continue
        if ".dist-info/" in file and PurePosixPath(file).name in _OF_THE_MACHINE:
            continue
        yield file.strip('"'), rest.partition(",")[0]
