"""`diff [RUN_A [RUN_B]]`: print the differences between two runs."""

from __future__ import annotations

from collections.abc import Sequence

from cosybuild import figure
from cosybuild.cli.arguments import Parser
from cosybuild.cli.printed import say
from cosybuild.printable import one_line
from cosybuild.report.difference import difference, difference_lines
from cosybuild.report.overview import overview
from cosybuild.run.checked_run import read_checked_run
from cosybuild.run.run_names import LAST, newest


def main(arguments: Sequence[str]) -> int:
    """Print the differences between two runs and return exit code 0, also if the runs differ."""
    parser = Parser.of_verb("diff", __doc__)
    parser.add_argument("a", nargs="?", metavar="RUN_A", help="the first run (default: the second newest)")
    parser.add_argument(
        "b", nargs="?", default=LAST, metavar="RUN_B", help="the run to compare it with (default: the newest)"
    )
    parser.switch("--all", "print every setting, figure and digest that differs")
    parser.switch("--json", "print all of it as JSON: section -> name -> [in A, in B]")
    options = parser.parse_args(arguments)
    first = str(newest(2)[1]) if options.a is None else options.a
    old, new = read_checked_run(first), read_checked_run(options.b)
    if options.json:
        say(figure.dumps(difference(old.report, new.report), indent=2))
        return 0
    if options.a is None or options.b == LAST:
        say(one_line(f"{old.directory} -> {new.directory}"))
    compare = difference if options.all else overview
    say("\n".join(difference_lines(compare(old.report, new.report))))
    return 0
