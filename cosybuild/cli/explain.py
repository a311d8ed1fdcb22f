"""`explain [RUN]`: print why each step of a run ran or did not run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cosybuild.building.record import StepRecord
from cosybuild.cli.arguments import Parser
from cosybuild.cli.printed import say
from cosybuild.printable import one_line
from cosybuild.report.figures import seconds
from cosybuild.run.checked_run import read_checked_run
from cosybuild.run.recorded import RecordedRun


def main(arguments: Sequence[str]) -> int:
    """Print the action of each step of a run and the parts of its key that caused the action; return exit code 0."""
    parser = Parser.of_verb("explain", __doc__)
    parser.recorded_run(optional=True)
    parser.switch("--keys", "print every part of every key")
    options = parser.parse_args(arguments)
    # The record can come from another person. A line feed in a reason would look like a line of this command.
    say("\n".join(map(one_line, _lines(read_checked_run(options.run), keys=options.keys))))
    return 0


def _lines(run: RecordedRun, *, keys: bool) -> Iterator[str]:
    yield f"{run.directory}: {run.report['status']}"
    width = max((len(record.label) for record in run.outcome.records), default=0)
    for record in run.outcome.records:
        yield f"{record.label:<{width}}  {record.action:<11}  {_time(record):>9}  {record.reason}"
        if len(record.reasons) > 1:
            for reason in record.reasons:
                yield f"{'':<{width}}    {reason.part}: {reason.old} -> {reason.new}"
        if keys and record.key is not None:
            for name, value in sorted(record.key.parts.items()):
                yield f"{'':<{width}}    {name} = {value}"


def _time(record: StepRecord) -> str:
    return seconds(record.seconds) if record.action in ("built", "failed") else ""
