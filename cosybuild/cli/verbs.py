"""The verbs of the command line; each is a module with `main(arguments) -> exit code`."""

from __future__ import annotations

import importlib
import keyword
from collections.abc import Sequence

VERBS: dict[str, str] = {
    "bundle": "one file that carries a finished run to another team",
    "check": "whether an engine loads here, and what in a model directory in service is current",
    "diff": "what differs between two runs",
    "doctor": "what this machine can build, what is missing, and how to mend it",
    "explain": "why each step of a run ran, or did not",
    "gc": "free what no run refers to, or what has long been unused",
    "help": "this list",
    "import": "take in a run that another team has bundled, checked on arrival",
    "init": "write a package of configurations for a team to share",
    "options": "the groups, their options and settings, and what an option composes to",
    "profiles": "profiles that pad little for lengths seen in service",
    "replay": "build a run again from its own record and say whether the same came out",
    "requirements": "the packages of a run's record with their versions, for pip",
    "rollback": "bring back what stood in a directory before a deployment",
    "select": "the best cell of a sweep, and the words that build it",
    "store": "what the store holds (ls), whether all of it is what it says (verify); all of it to a remote (push)",
}
"""Verb -> its purpose in one line. The module is `cosybuild.cli.<verb>`, with `_` appended to a Python keyword."""


def run_verb(verb: str, arguments: Sequence[str]) -> int:
    """Run one verb with its arguments and return the exit code."""
    from cosybuild.cli.failure import guarded

    name = f"{verb}_" if keyword.iskeyword(verb) else verb
    module = importlib.import_module(f"cosybuild.cli.{name}")
    return guarded(lambda: int(module.main(list(arguments))))
