"""The search for a run by name: the newest run, the start of a name, or a part of a name."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path

from cosybuild.errors import ConfigurationError
from cosybuild.system.files import read_regular
from cosybuild.system.json_records import LARGEST

RUNS = Path("outputs/runs")
REPORT = "report.json"

LAST = "last"
"""The word by which a command line names the newest run."""

_SHOWN = 8
"""The largest number of run names that an error lists."""


def find_run(word: str) -> Path:
    """Return the directory of the run that a word names.

    The word is tried, in this order, as a directory, its report.json, a name under outputs/runs, `last`, the start of a
    name, and another part of a name. Upper and lower case are distinguished only between names that are otherwise
    equal.

    Raises:
        ConfigurationError: no run or several runs match; the message lists the candidates.
    """
    given = Path(word)
    if given.name == REPORT and given.is_file():
        return given.parent
    if (given / REPORT).is_file():
        return given
    names = [path.name for path in newest_first()]
    is_last = word.lower() == LAST
    if is_last and names and word not in names:
        return RUNS / names[0]
    matching = _matching(word, names)
    if len(matching) == 1:
        return RUNS / matching[0]
    if given.is_dir() and not matching:
        return given
    if matching:
        more = f", and {len(matching) - _SHOWN} more" if len(matching) > _SHOWN else ""
        raise ConfigurationError(
            f"'{word}' could be any of {len(matching)} runs: {', '.join(matching[:_SHOWN])}{more}.",
            hint="Next: give a longer part of the name, or the run's directory; `python -m cosybuild runs` lists all "
            "runs.",
        )
    if is_last:
        raise no_runs(1, 0)
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.4) or names[:3]
    raise ConfigurationError(
        f"There is no run '{word}': neither a directory nor a name under {RUNS}.",
        hint=f"Next: name one of the runs there: {', '.join(near)}." if near else "Next: run `python -m cosybuild`.",
    )


def newest(count: int) -> list[Path]:
    """Return the directories of the `count` newest runs, the newest first.

    Raises:
        ConfigurationError: there are fewer runs.
    """
    found = newest_first()
    if len(found) < count:
        raise no_runs(count, len(found))
    return found[:count]


def newest_first(root: Path = RUNS) -> list[Path]:
    """Return the run directories under `root` that have a report, sorted by start time, the newest first."""
    return sorted((path.parent for path in sorted(root.glob(f"*/{REPORT}"))), key=_started, reverse=True)


def no_runs(wanted: int, found: int) -> ConfigurationError:
    """Return the error for a command that needs more runs than there are.

    Args:
        wanted: the number of runs that the command needs.
        found: the number of runs that exist.
    """
    return ConfigurationError(
        f"{RUNS} has {found or 'no'} run{'' if found == 1 else 's'}, and the command needs {wanted}.",
        hint="Next: name a run directory, or build one with `python -m cosybuild`.",
    )


def _started(directory: Path) -> float:
    """Return the start time in a run's report, or the mtime of the file if the report cannot be read."""
    path = directory / REPORT
    try:
        return float(json.loads(read_regular(path, LARGEST))["started"])
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return path.stat().st_mtime if path.is_file() else 0.0


def _matching(word: str, names: Sequence[str]) -> list[str]:
    """Return the names that match best: equal, equal without regard to case, by their start, or by any part."""
    # A full name has precedence over the start of a name, because a replay of the run X is called X.replay.
    if word in names:
        return [word]
    lower = word.lower()
    for matches in (lower.__eq__, lambda name: name.startswith(lower), lambda name: lower in name):
        if found := [name for name in names if matches(name.lower())]:
            return sorted(found)
    return []
