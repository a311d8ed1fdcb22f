"""`import FILE`: take in a run that another team has bundled, every part of it checked."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from cosybuild.cli import units
from cosybuild.cli.printed import say
from cosybuild.printable import shell
from cosybuild.report.figures import counted
from cosybuild.run.recorded import RUNS
from cosybuild.run.sharing.bundle import Arrival, plain_facts, read_bundle
from cosybuild.run.zip_archive import Bounds
from cosybuild.store.store import Store


def main(arguments: Sequence[str]) -> int:
    """Check the archive and take it in.

    Raises:
        ConfigurationError: it is no bundle, damaged, too large, or has members or records that are refused, or its
            signature does not verify.
        StoreError: a result in it is damaged, or the store cannot be written.
    """
    parser = argparse.ArgumentParser(prog="python -m cosybuild import", description=__doc__)
    parser.add_argument("archive", type=Path, metavar="FILE", help="what `bundle` wrote")
    parser.add_argument("--store", type=Path, default=Path("outputs/store"), help="default: %(default)s")
    parser.add_argument("--runs", type=Path, default=RUNS, help="default: %(default)s")
    parser.add_argument(
        "--trust-results",
        action="store_true",
        help="take the results of its steps into the store; builds here then use them as their own",
    )
    parser.add_argument(
        "--max-size",
        type=units.size,
        metavar="SIZE",
        help="let the archive unfold to so much, e.g. 100GB (default: 256 MiB, or 20 times its own size, up to 64 GiB)",
    )
    parser.add_argument(
        "--verify-key",
        type=Path,
        metavar="PUBKEY",
        help="refuse the archive unless FILE.sig is its signature by the owner of this public key (PEM)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    bounds = Bounds() if options.max_size is None else Bounds(always=options.max_size, most=options.max_size)
    arrival = read_bundle(
        options.archive,
        Store(options.store),
        options.runs,
        trust_results=options.trust_results,
        bounds=bounds,
        key=options.verify_key,
    )
    if options.json:
        print(json.dumps(plain_facts(arrival), indent=2))
        return 0
    say(f"{arrival.run}{' (was there already)' if arrival.was_there else ''}; {_results(arrival, options.store)}")
    if arrival.signer is not None:
        say(f"signed with the key {arrival.signer}")
    named = shell([str(arrival.run)])
    say(f"Next: python -m cosybuild explain {named}, or replay {named} to build it again and compare")
    return 0


def _results(arrival: Arrival, store: Path) -> str:
    """Return a sentence that says if the results of the run entered the store."""
    if not arrival.carried:
        return "no results, only digests"
    if arrival.results:
        return f"{counted(arrival.results, 'result')} in {store}"
    return (
        f"{counted(arrival.carried, 'result')} not taken into {store}: add --trust-results if you trust who made them"
    )
