"""`requirements RUN`: print the packages of a run with their versions, in pip's format."""

from __future__ import annotations

from collections.abc import Sequence

from cosybuild.cli.arguments import Parser
from cosybuild.cli.printed import say
from cosybuild.run.checked_run import read_checked_run
from cosybuild.run.requirements import requirements_text
from cosybuild.system.files import write_text


def main(arguments: Sequence[str]) -> int:
    """Print the requirements of a run, or write them to a file.

    Raises:
        ConfigurationError: there is no such run, or its record is damaged.
    """
    parser = Parser.of_verb("requirements", __doc__)
    parser.recorded_run()
    parser.option("--output", "FILE", "write to this file instead of stdout")
    options = parser.parse_args(arguments)
    text = requirements_text(read_checked_run(options.run))
    if options.output is None:
        say(text, end="")
    else:
        write_text(options.output, text)
    return 0
