"""`bundle RUN`: write a finished run as one file for another team."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cosybuild.cli.arguments import Parser, default_store
from cosybuild.cli.printed import say
from cosybuild.errors import ConfigurationError
from cosybuild.printable import shell
from cosybuild.report.figures import size
from cosybuild.run.checked_run import read_checked_run
from cosybuild.run.lock_file import LOCK, write_lock
from cosybuild.run.sharing.bundle import write_bundle
from cosybuild.signing import key_fingerprint, sign, signature_path
from cosybuild.store.store import Store


def main(arguments: Sequence[str]) -> int:
    """Write a finished run as one archive, with `--sign` also its signature, and return exit code 0.

    Raises:
        ConfigurationError: there is no such run, the run did not finish, or the key cannot be used.
        StoreError: a result of the run is no longer in the store.
    """
    parser = Parser.of_verb("bundle", __doc__)
    parser.recorded_run()
    parser.option("--into", "FILE", "the archive (default: RUN's name + .tar.gz)")
    parser.option("--store", "DIR", "the store with the results of its steps (default: the run's own store)")
    parser.switch("--without-artifacts", "write only the digests of artifacts, which is enough for `replay`")
    parser.option("--sign", "KEY", "also write ARCHIVE.sig, a signature with this private key (PEM)")
    options = parser.parse_args(arguments)
    if options.sign is not None:
        key_fingerprint(
            options.sign, private=True
        )  # a key that cannot be used is refused before the archive is written
    run = read_checked_run(options.run)
    if run.report["status"] not in ("ok", "pending"):
        raise ConfigurationError(
            f"{run.directory} is {run.report['status']}; only a finished run can be bundled.",
            hint="Next: run the same command again until it ends well.",
        )
    if not (run.directory / LOCK).is_file():
        write_lock(run.directory, run.report)
    recorded = run.report["config"]["store"]
    if run.origin is not None:
        recorded = {"path": str(default_store())}  # a path in another person's record is not a path on this machine
    store = options.store or (Path(recorded["path"]) if recorded else None)
    if store is None and not options.without_artifacts:
        raise ConfigurationError(
            f"{run.directory} was built with store=off, so the results of its steps were not kept.",
            hint="Next: bundle --without-artifacts, or build it with a store.",
        )
    target: Path = options.into or Path(f"{run.directory.resolve().name}.tar.gz")
    write_bundle(run, Store(store or Path("outputs/.no-store")), target, artifacts=not options.without_artifacts)
    say(f"{target}  {size(target.stat().st_size)}")
    if options.sign is not None:
        say(f"{signature_path(target)}  signed with the key {sign(target, options.sign)}")
    verified = " --verify-key PUBKEY" if options.sign is not None else ""
    say(f"On the other machine: python -m cosybuild import {shell([target.name])}{verified}")
    say(
        f"The weights are not in it. With them, `python -m cosybuild replay {shell([run.directory.resolve().name])} "
        "model_dir=DIR` builds the run again there and compares the artifacts."
    )
    return 0
