"""`diff RUN_A RUN_B`: print the differences between two runs."""

from __future__ import annotations

from collections.abc import Sequence

from cosybuild import figure
from cosybuild.cli.arguments import Parser
from cosybuild.cli.printed import say
from cosybuild.report.difference import difference, difference_lines
from cosybuild.run.recorded import read_run


def main(arguments: Sequence[str]) -> int:
    """Print the differences between two runs; the exit code is 0 with and without differences."""
    parser = Parser.of_verb("diff", __doc__)
    parser.add_argument("a", metavar="RUN_A", help="a run directory, or the start of a name under outputs/runs")
    parser.add_argument("b", metavar="RUN_B", help="the run to compare it with")
    parser.switch("--json", "print JSON: section -> name -> [in A, in B]")
    options = parser.parse_args(arguments)
    found = difference(read_run(options.a).report, read_run(options.b).report)
    say(figure.dumps(found, indent=2) if options.json else "\n".join(difference_lines(found)))
    return 0
