"""`gc`: remove from the store the results that no run refers to, or that were not used for a long time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from cosybuild.cli import units
from cosybuild.cli.arguments import STORE, STORE_VARIABLE, Parser
from cosybuild.cli.printed import say
from cosybuild.errors import ConfigurationError
from cosybuild.report.figures import counted, size
from cosybuild.run.recorded import RecordedRun, all_runs
from cosybuild.run.run_names import RUNS
from cosybuild.store.gc import GRACE_SECONDS, collect
from cosybuild.store.store import Store


def main(arguments: Sequence[str]) -> int:
    """Remove the results that the arguments select from the store, print them, and return exit code 0.

    Raises:
        ConfigurationError: the arguments would remove all results, or results of other people in a shared store.
    """
    parser = Parser.of_verb("gc", __doc__)
    parser.store()
    parser.repeated("--runs", "DIR", f"a directory of runs whose results are kept (default: {RUNS})", Path)
    parser.option("--older-than", "AGE", "remove only results that were not used for this long, e.g. 30d", units.age)
    parser.option(
        "--max-size", "SIZE", "remove the oldest results until the store has this size, e.g. 20GB", units.size
    )
    parser.option("--grace", "AGE", "keep results younger than this (default: 1h)", units.age, default=GRACE_SECONDS)
    parser.switch("--dry-run", "list the results that would be removed, and change nothing")
    options = parser.parse_args(arguments)
    is_shared = os.environ.get(STORE_VARIABLE) and options.store is parser.get_default("store")
    if is_shared and options.older_than is None and options.max_size is None and not options.dry_run:
        raise ConfigurationError(
            f"The store {options.store} of {STORE_VARIABLE} may have results of other people's runs, and all that no "
            "run here refers to would be removed.",
            hint=f"Next: give a limit, e.g. `python -m cosybuild gc --older-than 30d`, or `--store {STORE}` for the "
            "store of this directory.",
        )
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
    """Return the digests of the step keys in the records of `runs`; `gc` keeps the store entries of these keys."""
    return {record.key.digest for run in runs for record in run.outcome.records if record.key is not None}
