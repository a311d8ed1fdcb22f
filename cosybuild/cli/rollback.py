"""`rollback DIR [--to N]`: restore the files that a deployment replaced."""

from __future__ import annotations

from pathlib import Path

from cosybuild.cli.arguments import Parser
from cosybuild.cli.printed import say
from cosybuild.deploy.rollback import backups, rollback
from cosybuild.directory_in_service import STATE
from cosybuild.errors import DeployError
from cosybuild.manifest import NEXT, SUFFIX
from cosybuild.report.figures import moment


def main(arguments: list[str]) -> int:
    """Restore a backup, print what changed, and return exit code 0; with --list, only print the backups.

    Raises:
        DeployError: there is no such backup, or the directory has no deployment.
    """
    parser = Parser.of_verb("rollback", __doc__)
    parser.add_argument("directory", type=Path, help="the directory of a deployment")
    parser.option(
        "--to", "N", "the number of the backup to restore (default: the newest that is not restored yet)", int
    )
    parser.switch("--list", "print the backups and change nothing")
    options = parser.parse_args(arguments)
    root: Path = options.directory
    if not (root / STATE).is_dir():
        models = sorted(str(state.parent) for state in root.glob(f"*/{STATE}")) if root.is_dir() else []
        raise DeployError(
            f"{root} has no {STATE}, so cosybuild has not deployed anything there.",
            hint=f"Next: python -m cosybuild rollback {models[0]}"
            if models
            else "Next: give the directory of deploy.dir.",
        )
    if options.list:
        for backup in backups(root):
            files = ", ".join(name for name in backup.record.existed if not name.endswith((SUFFIX, NEXT)))
            made = moment(backup.directory.parent.stat().st_mtime)
            say(f"{backup.number:04}  {made}  before a {backup.record.kind} of {files}")
        return 0
    number, names = rollback(root, options.to)
    say(f"{root} is restored to its state before deployment {number:04}:")
    for name in names:
        if not name.endswith(NEXT):
            say(f"  {name} {'is back' if (root / name).exists() else 'is removed; it was not there before'}")
    return 0
