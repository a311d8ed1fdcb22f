"""The output and the exit code of `replay ARCHIVE` for a failure archive."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from cosybuild import figure
from cosybuild.cli.failure import present
from cosybuild.cli.printed import say
from cosybuild.errors import DriftError
from cosybuild.run.failure.reproduce import Reproduction, reproduce
from cosybuild.run.limits import ProcessLimits
from cosybuild.system.typed_json import to_json


def show_failure(archive: Path, elsewhere: Path | None, limits: ProcessLimits, *, as_json: bool) -> int:
    """Reproduce the failure in a failure archive, print the result, and return the exit code of the failure.

    Args:
        archive: the failure archive.
        elsewhere: a directory to search for files that the archive names by digest only; None for none.
        limits: the limits of the process that runs the graphs.
        as_json: print the result as JSON.

    Raises:
        DriftError: the failure does not occur here.
        ConfigurationError: the file is not a failure archive, is damaged, or needs further files.
    """
    found = reproduce(archive, elsewhere, lambda line: say(line, file=sys.stderr), limits)
    if as_json:
        print(figure.dumps(_facts(found), indent=2))
    else:
        say("\n".join(_lines(found)))
    if not found.shown:
        raise DriftError(
            f"The failure of '{found.recorded.step}' in {archive} does not occur here: {_differing(found)}.",
            hint="Next: install the versions of the machine on which it occurred, and replay it again.",
        )
    error = found.error
    if error is not None:
        present(error.kind, error.message, error.hint)
    else:
        present(found.recorded.kind, found.recorded.message, found.recorded.hint)
    return found.recorded.exit_code


def _lines(found: Reproduction) -> list[str]:
    lines = [f"recorded: {found.recorded.step}: {found.recorded.message}"]
    if found.cause is not None:
        lines.append(f"probable cause: {found.cause.name}. {found.cause.says} Remedy: {found.cause.remedy}.")
    if found.has_part:
        lines.append(f"the smallest part: {'passes here' if found.part is None else found.part}")
    if found.lacking:
        lines.append(f"the step was not run: the archive has only digests of {', '.join(found.lacking)} (--files DIR)")
    else:
        lines.append(f"the step: {'passes here' if found.error is None else 'fails here'}{_likeness(found)}")
    if found.versions:
        lines.append(f"versions that differ: {_differing(found)}")
    return lines


def _likeness(found: Reproduction) -> str:
    if found.error is None:
        return ""
    return ", with the same message" if found.same else ", with another message"


def _differing(found: Reproduction) -> str:
    pairs = (f"{name} {there} -> {here}" for name, (there, here) in found.versions.items())
    return ", ".join(pairs) or "the versions are the same"


def _facts(found: Reproduction) -> dict[str, Any]:
    return {
        "recorded": to_json(found.recorded),
        "cause": to_json(found.cause),
        "part": found.part,
        "step": None if found.error is None else found.error.message,
        "same": found.same,
        "shown": found.shown,
        "lacking": list(found.lacking),
        "versions": {name: list(pair) for name, pair in found.versions.items()},
    }
