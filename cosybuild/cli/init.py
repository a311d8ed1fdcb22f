"""`init TEAM`: write a package of configurations that a team can share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template

from cosybuild.cli.arguments import Parser
from cosybuild.errors import ConfigurationError


def main(arguments: Sequence[str]) -> int:
    """Write the package into a new directory and return exit code 0.

    Raises:
        ConfigurationError: the name cannot be used, or the directory is not empty.
    """
    parser = Parser.of_verb("init", __doc__)
    parser.add_argument("team", help="a short name, e.g. acme; options are then called acme/...")
    parser.option("--into", "DIR", "the new directory (default: TEAM-cosy-conf)")
    options = parser.parse_args(arguments)
    team: str = options.team
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", team):
        raise ConfigurationError(
            f"'{team}' is not a valid team name: lower-case letters, digits and single hyphens are expected, with a "
            "letter first.",
            hint="Next: python -m cosybuild init my-team",
        )
    distribution = f"{team}-cosy-conf"
    directory: Path = options.into or Path(distribution)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigurationError(
            f"{directory} already exists and is not an empty directory.", hint="Next: choose another with --into DIR."
        )
    names = {"team": team, "distribution": distribution, "package": distribution.replace("-", "_")}
    for path, text in package_files(names).items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text, encoding="utf-8")
    print(
        f"{directory}: a package with two example configurations.\n"
        f"Next: pip install -e {directory}, then python -m cosybuild trt_profile={team}/edge dry_run=true"
    )
    return 0


def package_files(names: dict[str, str]) -> dict[str, str]:
    """Return the files of the package: path -> text.

    Args:
        names: the names of the team, the distribution and the Python package, under these keys (`team`, `distribution`,
            `package`).
    """
    conf = f"{names['package']}/conf"
    places = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{names['package']}/__init__.py": "package.py",
        # Hydra accepts a package as a source of configurations only if it has this file.
        f"{conf}/__init__.py": "conf.py",
        f"{conf}/trt_profile/{names['team']}/edge.yaml": "edge.yaml",
        f"{conf}/sweep/{names['team']}/release.yaml": "release.yaml",
        "tests/test_configurations.py": "test_configurations.py",
    }
    templates = resources.files("cosybuild.cli") / "team"
    return {
        path: Template((templates / f"{template}.tmpl").read_text(encoding="utf-8")).substitute(names)
        for path, template in places.items()
    }
