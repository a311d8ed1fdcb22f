"""`gc`: remove from the store what no run refers to, or what was not used for a long time."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from cosybuild.cli import units
from cosybuild.cli.printed import say
from cosybuild.errors import ConfigurationError
from cosybuild.report.figures import counted, size
from cosybuild.run.recorded import RUNS, RecordedRun, all_runs
from cosybuild.store.gc import GRACE_SECONDS, collect
from cosybuild.store.store import Store


def main(arguments: Sequence[str]) -> int:
    """Remove from the store what no run directory refers to."""
    parser = argparse.ArgumentParser(prog="python -m cosybuild gc", description=__doc__)
    parser.add_argument("--store", default="outputs/store", type=Path, help="the store (default: %(default)s)")
    parser.add_argument(
        "--runs",
        action="append",
        type=Path,
        metavar="DIR",
        help=f"a directory of runs whose results are kept (default: {RUNS})",
    )
    parser.add_argument(
        "--older-than",
        type=units.age,
        metavar="AGE",
        help="remove only results that were not used for this long, e.g. 30d",
    )
    parser.add_argument(
        "--max-size",
        type=units.size,
        metavar="SIZE",
        help="remove the oldest results until the store has this size, e.g. 20GB",
    )
    parser.add_argument(
        "--grace",
        type=units.age,
        default=GRACE_SECONDS,
        metavar="AGE",
        help="keep results younger than this (default: 1h)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="list the results that would be removed, and change nothing"
    )
    options = parser.parse_args(arguments)
    places = options.runs or [RUNS]
    runs = [run for place in places for run in all_runs(place)]
    if not runs and options.older_than is None and options.max_size is None:
        raise ConfigurationError(
            f"There is no run in {', '.join(map(str, places))}, so all results in {options.store} would be removed.",
            hint="Next: give the directory of the runs with --runs DIR, or a limit with --older-than or --max-size.",
        )
    collected = collect(
        Store(options.store),
        keep=referred_to(runs),
        older_than=options.older_than,
        max_bytes=options.max_size,
        dry_run=options.dry_run,
        grace=options.grace,
    )
    would = "would be " if options.dry_run else ""
    for removed in collected.entries:
        say(f"{removed.stage:<20} {removed.key_digest[:12]}  {size(removed.size):>8}  {removed.why}")
    say(
        f"{counted(len(collected.entries), 'result')} and {counted(collected.objects, 'file')} {would}removed, "
        f"{size(collected.freed)} {would}freed; {size(collected.kept)} kept."
    )
    return 0


def referred_to(runs: Iterable[RecordedRun]) -> set[str]:
    """Return the digests of the keys that runs refer to; `gc` keeps their entries and contents."""
    return {record.key.digest for run in runs for record in run.outcome.records if record.key is not None}
