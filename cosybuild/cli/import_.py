"""`import FILE`: check and unpack a run that another team has bundled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from cosybuild.cli import units
from cosybuild.cli.arguments import Parser
from cosybuild.cli.printed import say
from cosybuild.printable import shell
from cosybuild.report.figures import counted
from cosybuild.run.run_names import RUNS
from cosybuild.run.safe_archive import Bounds
from cosybuild.run.sharing.import_bundle import ImportedBundle, plain_facts, read_bundle
from cosybuild.store.store import Store


def main(arguments: Sequence[str]) -> int:
    """Check a bundle, unpack the run in it, and return exit code 0.

    Raises:
        ConfigurationError: the file is not a bundle, is damaged or too large, contains files or records that are not
            allowed, or its signature is not valid.
        StoreError: a result in the bundle is damaged, or the store cannot be written.
    """
    parser = Parser.of_verb("import", __doc__)
    parser.add_argument("archive", type=Path, metavar="FILE", help="a file from `bundle`")
    parser.store()
    parser.option("--runs", "DIR", "the directory to unpack the run into (default: %(default)s)", default=RUNS)
    parser.switch(
        "--trust-results", "add the results of its steps to the store, so that builds on this machine use them"
    )
    parser.option(
        "--max-size",
        "SIZE",
        "the largest unpacked size, e.g. 100GB (default: 256 MiB, or 20 times the archive's size, up to 64 GiB)",
        units.size,
    )
    parser.option(
        "--verify-key",
        "PUBKEY",
        "refuse the archive unless FILE.sig is its signature by the owner of this public key (PEM)",
    )
    parser.switch("--json", "print JSON")
    options = parser.parse_args(arguments)
    bounds = Bounds() if options.max_size is None else Bounds(always=options.max_size, most=options.max_size)
    imported = read_bundle(
        options.archive,
        Store(options.store),
        options.runs,
        trust_results=options.trust_results,
        bounds=bounds,
        key=options.verify_key,
    )
    if options.json:
        print(json.dumps(plain_facts(imported), indent=2))
        return 0
    say(f"{imported.run}{' (already imported)' if imported.was_there else ''}; {_results(imported, options.store)}")
    if imported.signer is not None:
        say(f"signed with the key {imported.signer}")
    named = shell([str(imported.run)])
    say(f"Next: python -m cosybuild explain {named}, or replay {named} to rebuild it and compare")
    return 0


def _results(imported: ImportedBundle, store: Path) -> str:
    """Return a phrase with the number of results in the bundle, which says if they were added to the store."""
    if not imported.carried:
        return "it has no results, only digests"
    if imported.results:
        return f"{counted(imported.results, 'result')} in {store}"
    return f"{counted(imported.carried, 'result')} not added to {store}; add --trust-results if you trust the sender"
