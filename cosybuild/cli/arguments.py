"""The parser of a verb's command line, with the arguments that several verbs take."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from cosybuild.cli.usage import usage_error
from cosybuild.run.run_names import LAST

STORE = Path("outputs/store")
"""The store of a build in this directory if `store.path` is not set."""

STORE_VARIABLE = "COSYBUILD_STORE"
"""The variable that names the store of `store=shared`, and of the commands that take a store."""

_PROGRAM = "python -m cosybuild "
_RUN = f"a run directory, a part of a name under outputs/runs, or `{LAST}` for the newest run"


def default_store() -> Path:
    """Return the store of a command without `--store`."""
    return Path(os.environ.get(STORE_VARIABLE) or STORE).expanduser()


class Parser(argparse.ArgumentParser):
    """A parser whose arguments are declared in one line each."""

    @classmethod
    def of_verb(cls, verb: str, doc: str | None, epilog: str | None = None) -> Parser:
        """Return a parser for `python -m cosybuild VERB` that has no arguments yet."""
        return cls(prog=f"{_PROGRAM}{verb}", description=doc, epilog=epilog)

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            ConfigurationError: always.
        """
        command = self.prog.removeprefix(_PROGRAM)
        raise usage_error(
            self, command, f"Next: `{_PROGRAM}help {command.split()[0]}` describes the arguments.", message
        )

    def option(
        self, flag: str, metavar: str, purpose: str, parse: Callable[[str], Any] = Path, default: Any = None
    ) -> None:
        """Add an option with a value."""
        self.add_argument(flag, type=parse, metavar=metavar, default=default, help=purpose)

    def repeated(self, flag: str, metavar: str, purpose: str, parse: Callable[[str], Any] = str) -> None:
        """Add an option that can be given several times; its value is a list, empty by default."""
        self.add_argument(flag, type=parse, metavar=metavar, action="append", default=[], help=purpose)

    def switch(self, flag: str, purpose: str) -> None:
        """Add an option without a value, False by default."""
        self.add_argument(flag, action="store_true", help=purpose)

    def recorded_run(self, *, optional: bool = False) -> None:
        """Add the argument RUN, which `run.recorded.read_run` takes; an optional one is the newest run by default."""
        if optional:
            self.add_argument("run", nargs="?", default=LAST, metavar="RUN", help=f"{_RUN} (default: the newest run)")
        else:
            self.add_argument("run", metavar="RUN", help=_RUN)

    def store(self, *, inner: bool = False) -> None:
        """Add the option `--store`.

        Args:
            inner: the parser of an inner command; if it is not given `--store`, that of the outer command is used.
        """
        default = argparse.SUPPRESS if inner else default_store()
        self.option("--store", "DIR", f"the store (default: {STORE_VARIABLE}, else {STORE})", default=default)
