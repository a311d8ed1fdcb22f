"""The verbs of the command line; each verb is a module with a function `main` that returns an exit code."""

from __future__ import annotations

import importlib
import keyword
from collections.abc import Sequence

from cosybuild.errors import ConfigurationError

VERBS: dict[str, str] = {
    "bom": "print the bill of materials of a run (CycloneDX): artifacts, weights and libraries with digests",
    "bundle": "write a finished run as one file for another team",
    "card": "print the model card of a run: files, figures, limits, origin and licence",
    "certify": "prove or refute ONNX files of somebody else against the networks of a model directory",
    "check": "check an engine, or the files of a model directory in service",
    "completion": "print the shell script that completes the command in bash or zsh",
    "declare": "print the inputs and outputs of an ONNX file or a class as an option of the group model",
    "diff": "list the differences between two runs (default: the two newest)",
    "doctor": "list what this machine can build, what is missing, and the command that installs it",
    "explain": "print why each step of a run (default: the newest) ran or was skipped",
    "gc": "remove from the store the results that no run refers to, or that were not used for long",
    "help": "print this list, or the help of a command",
    "import": "check and unpack a run that another team has bundled",
    "init": "write a package of configurations for a team to share",
    "options": "list groups, options and settings, or print the content of an option",
    "profiles": "propose profiles with little padding for lengths recorded in production",
    "replay": "build a run again from its record and compare the artifacts, or reproduce a failure",
    "requirements": "print the packages of a run with their versions, in pip's format",
    "rollback": "restore the files that a deployment replaced",
    "runs": "list the recorded runs, the newest first",
    "select": "print the command that builds the best cell of a sweep",
    "store": "list the store (ls), check the digest of every file (verify), or push results to a remote (push)",
}
"""The purpose of each verb, in one line.

The module of a verb is `cosybuild.cli.<verb>`, with `_` appended if the verb is a keyword of Python.
"""


def unknown_verb(word: str) -> ConfigurationError:
    """Return the error for the first word of a command line that is neither a verb nor an override."""
    import difflib

    if word == "deploy":
        return ConfigurationError(
            "'deploy' is a setting of a build, not a command.",
            hint="Next: repeat the command of the build, and add deploy=SERVICE deploy.dir=DIR; finished steps are not "
            "built again. `python -m cosybuild options deploy` lists the services.",
        )
    near = difflib.get_close_matches(word, VERBS, n=1)
    return ConfigurationError(
        f"'{word}' is neither a command nor an override (key=value).{f' Did you mean {near[0]}?' if near else ''} "
        f"Commands: {', '.join(sorted(VERBS))}.",
        hint="Next: `python -m cosybuild help` lists all commands.",
    )


def run_verb(verb: str, arguments: Sequence[str]) -> int:
    """Run a verb with its arguments and return the exit code. Print an error as a message to stderr."""
    from cosybuild.cli.failure import run_guarded

    name = f"{verb}_" if keyword.iskeyword(verb) else verb
    module = importlib.import_module(f"cosybuild.cli.{name}")
    return run_guarded(lambda: int(module.main(list(arguments))))
