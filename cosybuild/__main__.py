"""The entry point of `python -m cosybuild`: a first word such as `check` runs that verb, anything else runs a build."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from cosybuild.cli.verbs import VERBS, run_verb
from cosybuild.errors import INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code (see `cosybuild.errors`).

    Args:
        arguments: the words after `python -m cosybuild`; None takes them from `sys.argv`.
    """
    _print_everything()
    try:
        return _command(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        # Ctrl-C is caught here, because the user may press it during an import.
        print("\nInterrupted. Finished steps are kept; the same command continues from there.", file=sys.stderr)
        return INTERRUPTED


def _print_everything() -> None:
    """Make stdout and stderr print an escape for a character that their encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and (stream.encoding.lower() != "utf-8" or stream.errors == "strict"):
            stream.reconfigure(errors="backslashreplace")


def _command(words: list[str]) -> int:
    if words and words[0] in VERBS:
        return run_verb(words[0], words[1:])
    if words == ["--version"]:
        from cosybuild.cli.failure import run_guarded
        from cosybuild.cli.version import print_versions

        return run_guarded(print_versions)
    # Imported late: a build with nothing to do must end before Hydra is loaded.
    from cosybuild.cli.nothing_to_do.early_exit import nothing_to_do

    message = nothing_to_do(words)
    if message is not None:
        print(message)
        return 0
    from cosybuild.cli.opening import Opening
    from cosybuild.system.heap import collect_by_default, collect_rarely

    collect_rarely()
    opening = Opening().begin(words)
    try:
        from cosybuild.cli.build import build_command

        return build_command(words, opening)
    finally:
        opening.close()
        collect_by_default()


if __name__ == "__main__":
    sys.exit(main())
