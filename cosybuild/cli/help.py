"""`help`: list the commands other than the build."""

from __future__ import annotations

from collections.abc import Sequence

from cosybuild.cli.verbs import VERBS


def main(arguments: Sequence[str]) -> int:
    """Print every command with its purpose."""
    width = max(map(len, VERBS))
    print("python -m cosybuild [group=option ...] [setting=value ...]   build this configuration")
    print("python -m cosybuild COMMAND [--help]                         run one of these commands:\n")
    for verb, purpose in sorted(VERBS.items()):
        print(f"  {verb:<{width}}  {purpose}")
    print("\nGroups and options: python -m cosybuild --help")
    return 0
