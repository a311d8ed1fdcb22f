"""The flags of a build that Hydra does not know: the amount of output, and the format of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

JSON_PLAN = "dry_run=json"
"""The word that requests a plan as JSON. Hydra is given `dry_run=true` instead."""


class Volume(Enum):
    """The amount of output: the artifacts and errors only, the usual lines, or a line for every event."""

    quiet = "-q"
    usual = ""
    all = "-v"


_VOLUMES = {"-q": Volume.quiet, "--quiet": Volume.quiet, "-v": Volume.all, "--verbose": Volume.all}


@dataclass(frozen=True)
class Flags:
    """The flags of one command.

    Attributes:
        volume: the amount of output.
        json_plan: a dry run prints JSON.
    """

    volume: Volume = Volume.usual
    json_plan: bool = False


def split_flags(words: Sequence[str]) -> tuple[Flags, list[str]]:
    """Return the flags, and the words that remain for Hydra. If several volumes are given, the last one is used."""
    volumes = [_VOLUMES[word] for word in words if word in _VOLUMES]
    rest = ["dry_run=true" if word == JSON_PLAN else word for word in words if word not in _VOLUMES]
    return Flags(volumes[-1] if volumes else Volume.usual, JSON_PLAN in words), rest


def is_silent(words: Sequence[str]) -> bool:
    """Return True if the words request output that must not contain the opening line."""
    flags, _ = split_flags(words)
    return flags.json_plan or flags.volume is Volume.quiet
