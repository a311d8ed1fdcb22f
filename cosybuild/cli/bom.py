"""`bom [RUN]`: print the bill of materials of a run, in the JSON format of CycloneDX 1.6."""

from __future__ import annotations

from collections.abc import Sequence

from cosybuild import figure
from cosybuild.cli.arguments import Parser
from cosybuild.cli.printed import say
from cosybuild.report.bill_of_materials import bill_of_materials
from cosybuild.run.recorded import read_run


def main(arguments: Sequence[str]) -> int:
    """Print the bill of materials of a recorded run and return exit code 0.

    It lists the artifacts with their digests, figures and limits, the weights, and the libraries that made the
    artifacts.
    """
    parser = Parser.of_verb("bom", __doc__)
    parser.recorded_run(optional=True)
    options = parser.parse_args(arguments)
    say(figure.dumps(bill_of_materials(read_run(options.run).report), indent=2, ensure_ascii=False))
    return 0
