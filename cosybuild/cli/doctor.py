"""`doctor`: report what this machine can build, what is missing, and how to install it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from cosybuild.cli.arguments import Parser
from cosybuild.cli.printed import Terminal
from cosybuild.run.machine_check import Finding, examine

_STYLES = {"ok": "green", "note": "cyan", "problem": "red"}


def main(arguments: Sequence[str]) -> int:
    """Examine the machine and print the findings; return exit code 6 if one of them is a problem, else 0."""
    parser = Parser.of_verb("doctor", __doc__)
    parser.store()
    options = parser.parse_args(arguments)
    console = Terminal(soft_wrap=True)
    findings = list(examine(options.store))
    for finding in findings:
        console.print(Text.assemble((f"{finding.grade:>8}", _STYLES[finding.grade]), f"  {finding.what}"))
        if finding.fix:
            console.print(Text(f"{'':>8}  {finding.fix}", "dim"))
    return _exit_code(findings)


def _exit_code(findings: Sequence[Finding]) -> int:
    from cosybuild.errors import MissingRequirement

    return MissingRequirement.exit_code if any(f.grade == "problem" for f in findings) else 0
