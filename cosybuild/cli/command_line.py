"""The conversion of a build command's words to the syntax that Hydra reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from cosybuild.cli.usage import usage_error
from cosybuild.config.quoting import add_quotes
from cosybuild.config.scalars import add_brackets, is_sweep

_HINT = "Next: `python -m cosybuild --help` lists the groups, and `python -m cosybuild help` the commands."


def hydra_words(words: Sequence[str]) -> list[str]:
    """Return the words of a command line in the order and syntax that Hydra needs.

    The result has all options first, then all overrides, with the quotes and brackets that Hydra's grammar requires. In
    `words`, options may stand between overrides.

    Raises:
        ConfigurationError: an option or the value of an option is unknown.
    """
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise usage_error(parser, "python -m cosybuild", _HINT, message)

    parser.error = refuse  # type: ignore[method-assign]  # Hydra makes the parser
    overrides = list(parser.parse_intermixed_args(list(words)).overrides)
    options = list(words)
    for word in overrides:
        options.reverse()
        options.remove(word)  # remove the last one, because an option before it can have a value equal to the override
        options.reverse()
    sweeping = is_sweep(words)
    return [*options, *(add_brackets(add_quotes(word), sweeping=sweeping) for word in overrides)]
