"""The packages of a recorded run as requirements for pip, and their differences from this environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from packaging.version import InvalidVersion, Version

from cosybuild.errors import ConfigurationError
from cosybuild.run.facts import versions_of
from cosybuild.run.recorded import RecordedRun
from cosybuild.system.environment import Environment

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def requirements_text(run: RecordedRun) -> str:
    """Return a file for `pip install -r` or `-c` with the packages that can change the run, at their exact versions.

    Raises:
        ConfigurationError: the record contains an invalid package name or an invalid version.
    """
    machine = run.report["environment"]["machine"]
    lines = [
        f"# The packages of the run {_plain(run.directory.resolve().name)}.",
        f"# Python {_plain(machine['python'])} on {_plain(machine['system'])}",
        "# pip install -r THIS_FILE   if cosybuild is installed; or, in a clone of the same version of cosybuild,",
        "# pip install -c THIS_FILE .",
        *_requirements(run),
    ]
    return "".join(f"{line}\n" for line in lines)


def _requirements(run: RecordedRun) -> Iterator[str]:
    for name, version in sorted(run.report["environment"]["versions"].items()):
        try:
            public = Version(version).public
        except (InvalidVersion, TypeError):
            public = ""
        # The record of another team is not trusted: pip would read a line such as `--index-url=...` as an option.
        if not public or not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{run.directory}/report.json names the version {version!r} of {name!r}, which pip cannot read.",
                hint="Next: ask for the bundle of the run again, or write the requirements by hand.",
            )
        remark = "" if public == version else f"  # recorded as {version.strip()}, a local build"
        yield f"{name}=={public}{remark}"


def _plain(text: object) -> str:
    """Return the text on one line, with every run of white space replaced by one blank."""
    return " ".join(str(text).split())


def version_changes(report: Mapping[str, Any], environment: Environment) -> dict[str, tuple[str, str]]:
    """Return package -> (version in the report, version installed here) for the packages whose versions differ.

    Only packages in the report are compared, because earlier versions of cosybuild recorded fewer packages.
    """
    here = versions_of(environment)
    recorded = report["environment"]["versions"]
    return {name: (was, here.get(name, "(absent)")) for name, was in recorded.items() if here.get(name) != was}
