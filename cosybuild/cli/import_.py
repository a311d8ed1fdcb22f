"""`import FILE`: take in a run that another team has bundled, every part of it checked."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from cosybuild.cli.printed import say
from cosybuild.core.store import Store
from cosybuild.printable import shell
from cosybuild.report.figures import counted
from cosybuild.run.archive import plain_facts, read_bundle
from cosybuild.run.recorded import RUNS


def main(arguments: Sequence[str]) -> int:
    """Check the archive and take it in.

    Raises:
        ConfigurationError: it is no bundle, damaged, or has members that would leave their place.
        StoreError: a result in it is damaged, or the store cannot be written.
    """
    parser = argparse.ArgumentParser(prog="python -m cosybuild import", description=__doc__)
    parser.add_argument("archive", type=Path, metavar="FILE", help="what `bundle` wrote")
    parser.add_argument("--store", type=Path, default=Path("outputs/store"), help="default: %(default)s")
    parser.add_argument("--runs", type=Path, default=RUNS, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    arrival = read_bundle(options.archive, Store(options.store), options.runs)
    if options.json:
        print(json.dumps(plain_facts(arrival), indent=2))
        return 0
    results = (
        f"{counted(arrival.results, 'result')} in {options.store}" if arrival.results else "no results, only digests"
    )
    say(f"{arrival.run}{' (was there already)' if arrival.was_there else ''}; {results}")
    named = shell([str(arrival.run)])
    say(f"Next: python -m cosybuild explain {named}, or replay {named} to build it again and compare")
    return 0
