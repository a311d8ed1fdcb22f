"""`help [COMMAND]`: list the commands other than the build, or print the help of one of them."""

from __future__ import annotations

from collections.abc import Sequence

from cosybuild.cli.arguments import Parser
from cosybuild.cli.verbs import VERBS, run_verb, unknown_verb


def main(arguments: Sequence[str]) -> int:
    """Print every command with its purpose, or the help of one command.

    Raises:
        ConfigurationError: there is no such command.
    """
    parser = Parser.of_verb("help", __doc__)
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="default: list all commands")
    command = parser.parse_args(arguments).command
    if command in VERBS:
        return run_verb(command, ["--help"])
    if command is not None:
        raise unknown_verb(command)
    width = max(map(len, VERBS))
    print("python -m cosybuild [group=option ...] [setting=value ...]   build this configuration")
    print("python -m cosybuild COMMAND [--help]                         run one of these commands:\n")
    for verb, purpose in sorted(VERBS.items()):
        print(f"  {verb:<{width}}  {purpose}")
    print("\nHelp of a command: python -m cosybuild help COMMAND")
    print("Groups, options and settings: python -m cosybuild options [GROUP]")
    print("Versions: python -m cosybuild --version")
    return 0
