"""`card [RUN]`: print the model card of a run, in the Markdown format that model hubs show."""

from __future__ import annotations

from collections.abc import Sequence

from cosybuild.cli.arguments import Parser
from cosybuild.cli.printed import say
from cosybuild.report.model_card import model_card
from cosybuild.run.recorded import read_run


def main(arguments: Sequence[str]) -> int:
    """Print the model card of a recorded run and return exit code 0.

    It states the files, figures, limits and origin of the run, and the licence of the weights.
    """
    parser = Parser.of_verb("card", __doc__)
    parser.recorded_run(optional=True)
    parser.option("--licence", "ID", "the SPDX identifier of the weights' licence, e.g. Apache-2.0", str)
    options = parser.parse_args(arguments)
    say(model_card(read_run(options.run).report, options.licence), end="")
    return 0
