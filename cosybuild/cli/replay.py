"""`replay [RUN]`: build a run again and compare its artifacts. `replay ARCHIVE`: reproduce a recorded failure."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

from cosybuild import figure
from cosybuild.building.events import Event
from cosybuild.building.repeated_build import EQUIVALENT, SAME
from cosybuild.cli import units
from cosybuild.cli.arguments import Parser
from cosybuild.cli.console import BuildConsole
from cosybuild.cli.failure import present
from cosybuild.cli.printed import say
from cosybuild.errors import DriftError
from cosybuild.models.user_module.trusted import installed_only, targets_of
from cosybuild.report.difference import difference, difference_lines
from cosybuild.report.figures import counted
from cosybuild.run.checked_run import read_checked_run
from cosybuild.run.limits import ProcessLimits
from cosybuild.run.recorded import RecordedRun
from cosybuild.run.replay import replay
from cosybuild.run.requirements import version_changes
from cosybuild.run.run_names import LAST
from cosybuild.system.environment import Environment


def main(arguments: Sequence[str]) -> int:
    """Rebuild a run without a store and compare every artifact, or reproduce the failure in a failure archive.

    Returns:
        0 if the artifacts are the same or equivalent; otherwise the exit code of the failed build or of the reproduced
            failure.

    Raises:
        DriftError: the digest of an artifact differs, or the failure does not occur here.
        ConfigurationError: there is no such run, or the failure archive is refused.
    """
    parser = Parser.of_verb("replay", __doc__)
    parser.add_argument(
        "run",
        nargs="?",
        default=LAST,
        metavar="RUN",
        help="a run (named like RUN of `explain`) or a failure archive (default: the newest run)",
    )
    parser.add_argument(
        "given", nargs="*", metavar="KEY=VALUE", help="settings that replace those of the record, e.g. model_dir=DIR"
    )
    parser.repeated(
        "--trust",
        "PACKAGE",
        "allow the record of an imported run to call modules of this installed package; can be repeated",
    )
    parser.option("--files", "DIR", "a directory to search for files that a failure archive names by digest only")
    parser.option(
        "--max-seconds",
        "N",
        "the longest time for an imported run or a failure archive, in seconds (default: 900)",
        units.positive,
    )
    parser.option(
        "--max-memory",
        "SIZE",
        "the largest memory for an imported run or a failure archive (default: 32 GiB; no limit for a run on a "
        "machine with a GPU, whose driver reserves more addresses than that)",
        units.size,
    )
    parser.option("--into", "DIR", "the directory of the new run (default: RUN's name + .replay)")
    parser.switch("--json", "print the comparison as JSON")
    options = parser.parse_intermixed_args(arguments)
    if "=" in options.run and not Path(options.run).exists():  # RUN was left out, and the word is a setting
        options.run, options.given = LAST, [options.run, *options.given]
    limits = ProcessLimits(options.max_seconds or ProcessLimits.seconds, options.max_memory or ProcessLimits.memory)
    if Path(options.run).is_file() and options.run.endswith(".tar.gz"):
        from cosybuild.cli.replay_failure import show_failure

        return show_failure(Path(options.run), options.files, limits, as_json=options.json)
    run = read_checked_run(options.run)
    options.run = str(run.directory)  # `last` would name the replay itself after it
    directory = options.into or run.directory.with_name(f"{run.directory.resolve().name}.replay")
    directory = directory.absolute()
    # Enter `installed_only` before `chdir`, because the working directory is on the import path.
    with nullcontext() if run.origin is None else installed_only():
        os.chdir(run.home)
        return _replay(run, directory, options, limits if options.max_memory else _without_memory_on_gpus(limits))


def _replay(run: RecordedRun, directory: Path, options: argparse.Namespace, limits: ProcessLimits) -> int:
    console = BuildConsole(sys.stderr if options.json else sys.stdout)
    install = (
        f"`python -m cosybuild requirements {shlex.quote(options.run)}` writes the recorded versions in pip's format."
    )
    others = version_changes(run.report, Environment())
    try:
        if run.origin is not None:
            console(Event(time.time(), "warning", None, {"message": _shown(run)}))
        if others:
            console(Event(time.time(), "warning", None, {"message": f"{_changed(others)}. {install}"}))
        report, comparisons = replay(run, directory, console, given=options.given, trusted=options.trust, limits=limits)
    finally:
        console.close()
    if report["failure"] is not None:
        failure = report["failure"]
        present(failure["kind"], failure["message"], failure["hint"])
        return int(failure["exit_code"])
    if options.json:
        print(figure.dumps([asdict(comparison) for comparison in comparisons], indent=2))
    else:
        for comparison in comparisons:
            say(f"{comparison.verdict:<11}{comparison.name}")
    off = [comparison for comparison in comparisons if comparison.verdict not in (SAME, EQUIVALENT)]
    if off:
        changes = difference(run.report, report)
        lines = "\n".join(difference_lines({n: c for n, c in changes.items() if n not in ("figures", "artifacts")}))
        raise DriftError(
            f"{counted(len(off), 'artifact')} of {run.directory} differ{'s' if len(off) == 1 else ''}: "
            f"{', '.join(comparison.name for comparison in off)}. Other differences:\n{lines}",
            hint=f"Next: `python -m cosybuild diff --all {options.run} {directory}` lists all differences."
            + (f" {install}" if others else ""),
        )
    return 0


def _without_memory_on_gpus(limits: ProcessLimits) -> ProcessLimits:
    return replace(limits, memory=None) if Environment().gpus else limits


def _shown(run: RecordedRun) -> str:
    """Return the notice printed before another person's record is used: its origin and the code that it calls."""
    assert run.origin is not None
    calls = list(targets_of(run.report["config"].get("model", {}).get("target")))
    source = run.report["config"].get("model_dir")
    told = [f"calls {', '.join(calls)}"] if calls else []
    told += [f"names the model {source}"] if source else []
    return (
        f"This record was imported from {run.origin.archive} (sha256 {run.origin.sha256[:16]}, "
        f"{f'signed with the key {run.origin.signer}' if run.origin.signer else 'not signed'}) and comes from "
        f"somebody else. It {' and '.join(told) or 'calls no code'}"
    )


def _changed(versions: Mapping[str, tuple[str, str]]) -> str:
    """Return one sentence with the package versions that differ between the record and this environment."""
    each = ", ".join(f"{name} {was} -> {now}" for name, (was, now) in versions.items())
    return f"Versions differ from the record: {each}"
