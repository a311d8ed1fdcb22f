"""The argument parser of a verb (a command such as `gc`), and the arguments that several verbs take."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from cosybuild.cli.usage import usage_error
from cosybuild.run.run_names import LAST

STORE = Path("outputs/store")
"""The default store, relative to the working directory. A build uses it if `store.path` is not set."""

STORE_VARIABLE = "COSYBUILD_STORE"
"""The environment variable with the path of a shared store. `store=shared` and the verbs with `--store` read it."""

_PROGRAM = "python -m cosybuild "
_RUN = f"a run directory, a part of a name under outputs/runs, or `{LAST}` for the newest run"


def default_store() -> Path:
    """Return the path of the store for a verb without `--store`: the value of COSYBUILD_STORE, else `outputs/store`."""
    return Path(os.environ.get(STORE_VARIABLE) or STORE).expanduser()


class Parser(argparse.ArgumentParser):
    """An argument parser with a short method for each kind of argument that the verbs take."""

    @classmethod
    def of_verb(cls, verb: str, doc: str | None, epilog: str | None = None) -> Parser:
        """Return a parser without arguments for the command `python -m cosybuild VERB`.

        Args:
            verb: the verb.
            doc: the description in its help; None for none.
            epilog: the text at the end of its help; None for none.
        """
        return cls(prog=f"{_PROGRAM}{verb}", description=doc, epilog=epilog)

    def error(self, message: str) -> NoReturn:
        """Raise an error for an invalid command line, in place of argparse's exit.

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
        """Add an option with a value.

        Args:
            flag: the option, such as `--runs`.
            metavar: the name of the value in the help.
            purpose: the help.
            parse: converts the text of the value.
            default: the value without the option.
        """
        self.add_argument(flag, type=parse, metavar=metavar, default=default, help=purpose)

    def repeated(self, flag: str, metavar: str, purpose: str, parse: Callable[[str], Any] = str) -> None:
        """Add an option that can be given several times. Its value is a list, which is empty by default.

        Args:
            flag: the option, such as `--runs`.
            metavar: the name of the value in the help.
            purpose: the help.
            parse: converts the text of each value.
        """
        self.add_argument(flag, type=parse, metavar=metavar, action="append", default=[], help=purpose)

    def switch(self, flag: str, purpose: str) -> None:
        """Add an option without a value, such as `--json`. It is False by default."""
        self.add_argument(flag, action="store_true", help=purpose)

    def recorded_run(self, *, optional: bool = False) -> None:
        """Add the argument RUN, a text for `run.recorded.read_run`. If `optional`, its default is the newest run."""
        if optional:
            self.add_argument("run", nargs="?", default=LAST, metavar="RUN", help=f"{_RUN} (default: the newest run)")
        else:
            self.add_argument("run", metavar="RUN", help=_RUN)

    def store(self, *, inner: bool = False) -> None:
        """Add the option `--store DIR`.

        Args:
            inner: this is the parser of an inner command, such as `ls` of `store ls`. Without a `--store` of its own,
                the inner command keeps the value of the outer one.
        """
        default = argparse.SUPPRESS if inner else default_store()
        self.option("--store", "DIR", f"the store (default: {STORE_VARIABLE}, else {STORE})", default=default)
