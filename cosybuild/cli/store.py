"""`store ls`, `verify`, `push`: list the store, check its files, or push its results to a remote."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cosybuild.cli.arguments import Parser
from cosybuild.cli.printed import say
from cosybuild.errors import ConfigurationError, StoreError
from cosybuild.printable import one_line
from cosybuild.report.figures import counted, size
from cosybuild.run.stored_results import Description, describe, made_at
from cosybuild.store.check import check
from cosybuild.store.inventory import take_inventory
from cosybuild.store.remote import Remote
from cosybuild.store.store import Store


def main(arguments: Sequence[str]) -> int:
    """List the store, verify its files and quarantine damaged ones, or push its results to a remote."""
    parser = Parser.of_verb("store", __doc__)
    parser.store()
    verbs = parser.add_subparsers(dest="verb", required=True)
    listing = verbs.add_parser("ls", help="list the results, last used first: model, options, age and size")
    verify = verbs.add_parser("verify", help="read every file and check its digest")
    verify.switch("--keep-damaged", "only list damaged files, and do not move them")
    push = verbs.add_parser(
        "push", help="copy the results that a remote lacks, for example those from before the remote was set"
    )
    push.add_argument(
        "remote", metavar="URL", help="the remote, like the setting store.remote: s3://..., gs://..., file://..."
    )
    push.repeated("--option", "NAME=VALUE", "an option for fsspec, like one in the setting store.remote_options")
    for inner in (listing, verify, push):
        inner.store(inner=True)
    options = parser.parse_args(arguments)
    store = Store(options.store)
    if options.verb == "ls":
        return _list(store)
    if options.verb == "push":
        return _push(store, options.remote, options.option)
    return _verify(store, repair=not options.keep_damaged)


def _list(store: Store) -> int:
    inventory = take_inventory(store)
    now = time.time()
    told = describe(row.entry for row in inventory.rows)
    widths = [max((len(text) for text in texts), default=0) for texts in zip(*map(_texts, told.values()), strict=True)]
    for row in inventory.rows:
        entry = row.entry
        words = (f"{text:<{width}}" for text, width in zip(_texts(told[entry.key.digest]), widths, strict=True))
        built = made_at(entry)
        age = "" if built is None else f"built {_ago(now - built)}, "
        say(
            f"{entry.key.stage:<20} {'  '.join(words)}  {size(entry.size):>8}  {entry.key.digest[:12]}  "
            f"{age}used {_ago(now - row.used)}"
        )
    say(
        f"{counted(len(inventory.rows), 'result')}, {counted(inventory.contents, 'file')}, {size(inventory.size)}; "
        f"{size(inventory.quarantined)} in quarantine, {size(inventory.working)} in working directories. "
        f"The store is {store.path}."
    )
    return 0


def _texts(description: Description) -> tuple[str, str]:
    return one_line(description.model), one_line(description.options)


def _verify(store: Store, *, repair: bool) -> int:
    checkup = check(store, repair=repair)
    for fault in checkup.faults:
        stages = f" (used by results of {', '.join(fault.stages)})" if fault.stages else ""
        moved = f"; moved to {fault.moved_to}" if fault.moved_to else ""
        say(f"{fault.path} {fault.what}{stages}{moved}")
    say(f"{counted(checkup.entries, 'result')} and {counted(checkup.objects, 'file')} read, {size(checkup.size)}.")
    if checkup.faults:
        raise StoreError(
            f"{counted(len(checkup.faults), 'part')} of the store {store.path} "
            f"{'is' if len(checkup.faults) == 1 else 'are'} damaged.",
            hint="Next: run the builds again; they build the damaged results again."
            if repair
            else "Next: `python -m cosybuild store verify` without --keep-damaged moves damaged files to quarantine.",
        )
    return 0


def _push(store: Store, url: str, given: Sequence[str]) -> int:
    for option in given:
        if "=" not in option:
            raise ConfigurationError(
                f"--option {option!r} is not NAME=VALUE.",
                hint="Next: give e.g. --option endpoint_url=https://storage.example",
            )
    remote = Remote(url, dict(option.split("=", 1) for option in given))
    faults: list[str] = []
    sent = 0
    for entry in store.entries():
        # `find` checks the entry and its files again, and warns of damage. A damaged file must not reach the remote.
        if (sound := store.find(entry.key)) is not None:
            remote.upload(sound, faults.append)
            sent += 1
        if faults:
            raise StoreError(
                f"{faults[0]} {counted(sent - 1, 'result')} were sent before.",
                hint="Next: remove the cause and push again; results that arrived are not sent again",
            )
    say(f"{counted(sent, 'result')} of {store.path} {'is' if sent == 1 else 'are'} in {remote.url}.")
    return 0


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"
