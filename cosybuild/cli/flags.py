"""The flags of a build that Hydra does not know: the amount of output, a plan as JSON, and a JUnit file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cosybuild.cli.output_file import output_file
from cosybuild.errors import ConfigurationError

JSON_PLAN = "dry_run=json"
"""The word of a command line that requests a plan as JSON. Hydra gets `dry_run=true` in its place."""

_JUNIT = "--junit"


class Volume(Enum):
    """The amount of output.

    `quiet` prints only the artifacts and errors, `usual` also the progress and a summary, and `all` also a line for
    every event.
    """

    quiet = "-q"
    usual = ""
    all = "-v"


_VOLUMES = {"-q": Volume.quiet, "--quiet": Volume.quiet, "-v": Volume.all, "--verbose": Volume.all}


@dataclass(frozen=True)
class Flags:
    """The flags of one build command.

    Attributes:
        volume: the amount of output.
        json_plan: print the plan of a dry run as JSON.
        junit: the file that gets the results as JUnit XML; None for no file.
    """

    volume: Volume = Volume.usual
    json_plan: bool = False
    junit: Path | None = None


def split_flags(words: Sequence[str]) -> tuple[Flags, list[str]]:
    """Split a command line into the flags and the words for Hydra. Of several flags of one kind, the last one counts.

    Raises:
        ConfigurationError: `--junit` has no file, or one that cannot be written (see `output_file`).
    """
    junit, words = _split_junit(words)
    volumes = [_VOLUMES[word] for word in words if word in _VOLUMES]
    rest = ["dry_run=true" if word == JSON_PLAN else word for word in words if word not in _VOLUMES]
    return Flags(volumes[-1] if volumes else Volume.usual, JSON_PLAN in words, junit), rest


def _split_junit(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    name, rest = None, []
    remaining = iter(words)
    for word in remaining:
        flag, equals, value = word.partition("=")
        if flag != _JUNIT:
            rest.append(word)
            continue
        name = value if equals else next(remaining, "")
        if not name or name.startswith("-") or (not equals and "=" in name):
            raise ConfigurationError(
                f"{_JUNIT} needs the name of a file{f', not {name}' if name else ''}.",
                hint=f"Next: {_JUNIT} results.xml",
            )
    return None if name is None else output_file(_JUNIT, name), rest


def is_silent(words: Sequence[str]) -> bool:
    """Return True if the words request output that must not contain the opening line: `-q` or a plan as JSON."""
    try:
        flags, _ = split_flags(words)
    except ConfigurationError:  # the command itself reports it
        return False
    return flags.json_plan or flags.volume is Volume.quiet
