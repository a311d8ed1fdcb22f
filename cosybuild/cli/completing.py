"""The completions of an incomplete command line: commands, their options, runs, groups, settings and values."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import types
import typing
from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.object_type import ObjectType

from cosybuild.cli.verbs import VERBS, run_verb
from cosybuild.config.catalogue import open_loader, option_names
from cosybuild.config.setting_facts import group_settings, hint_of, root_settings
from cosybuild.config.settings import Settings
from cosybuild.config.sweep_naming import SWEEPS
from cosybuild.errors import CosybuildError
from cosybuild.run.run_names import LAST, newest_first

_FLAGS = (
    "-m",
    "--multirun",
    "-q",
    "--quiet",
    "-v",
    "--verbose",
    "--junit",
    "--config-dir",
    "--cfg",
    "--help",
    "--version",
)
_OF_RUNS = frozenset({"bundle", "diff", "explain", "replay", "requirements"})
_WORDS = {"help": tuple(VERBS), "store": ("ls", "push", "verify"), "completion": ("bash", "zsh")}


def completions(line: str) -> list[str]:
    """Return the words that can complete the last word of a command line, sorted.

    The list is empty if no such word is known, or if the configuration is broken. The shell then completes file names.

    Args:
        line: the command line from the name of the command up to the cursor.
    """
    words = line.split()
    current = "" if not line or line[-1].isspace() else words.pop()
    # Skip the words that start the command: `cosybuild`, or `python -m cosybuild`.
    begin = 3 if words[1:3] == ["-m", "cosybuild"] else 1
    given = words[begin:]
    with contextlib.suppress(CosybuildError):  # a broken configuration has no completions; a build reports it
        found = _of_verb(given[0], current) if given and given[0] in VERBS else _of_build(given, current)
        return sorted({word for word in found if word.startswith(current)})
    return []


def _of_verb(verb: str, current: str) -> Iterator[str]:
    """Yield the options of a verb if `current` starts with a hyphen, else the possible values of its argument."""
    if current.startswith("-"):
        yield from _options_of(verb)
        return
    yield from _WORDS.get(verb, ())
    if verb in _OF_RUNS:
        yield from (LAST, *(path.name for path in newest_first()))
    elif verb == "select" and SWEEPS.is_dir():
        yield from (path.name for path in SWEEPS.iterdir() if path.is_dir())
    elif verb == "options":
        with open_loader() as loader:
            yield from _groups(loader)


def _options_of(verb: str) -> list[str]:
    """Return the long options that the help of a verb lists."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        run_verb(verb, ["--help"])
    return [*re.findall(r"(?<![\w-])--[a-z][a-z-]*", text.getvalue().partition("\n\n")[0]), "--help"]


def _of_build(given: Sequence[str], current: str) -> Iterator[str]:
    """Yield the flags, groups, settings and values that can complete the word `current` of a build command."""
    if current.startswith("-"):
        yield from _FLAGS
        return
    key, equals, value = current.partition("=")
    prefix = re.match(r"\+{0,2}", key)
    plus = "" if prefix is None else prefix[0]
    with open_loader(_directories(given)) as loader:
        if equals:
            # A sweep (a,b) or a list ([a,b]) has several values. Complete the last one.
            kept = re.match(r".*[,\[]", value)
            done = f"{key}={'' if kept is None else kept[0]}"
            yield from (done + one for one in _values(loader, key.removeprefix(plus)))
            return
        if not given:
            yield from VERBS
        groups = _groups(loader)
        yield from (f"{plus}{group}=" for group in groups)
        yield from (f"{plus}{one.name}=" for one in root_settings(dict.fromkeys(_root_names())))
        group, dot, _ = key.removeprefix(plus).partition(".")
        if not dot:
            yield from (f"{plus}{one}." for one in groups if any(True for _ in group_settings(one, {})))
        else:
            yield from (
                f"{plus}{one.name}=" for one in group_settings(group, {}) if not re.search(r"\[i\]|NAME", one.name)
            )


def _directories(given: Sequence[str]) -> list[Path]:
    """Return the existing directories that the words `--config-dir DIR` and `--config-dir=DIR` name."""
    stated = [word.partition("=")[2] for word in given if word.startswith("--config-dir=")]
    stated += [after for word, after in pairwise(given) if word in ("--config-dir", "-cd")]
    return [path for path in map(Path, stated) if path.is_dir()]


def _root_names() -> list[str]:
    return [field.name for field in dataclasses.fields(Settings)]


def _groups(loader: ConfigLoaderImpl) -> list[str]:
    return [g for g in loader.get_group_options("", results_filter=ObjectType.GROUP) if g != "hydra"] + [
        "hydra/launcher",
        "hydra/sweeper",
    ]


def _values(loader: ConfigLoaderImpl, key: str) -> Iterator[str]:
    """Yield the options of a group, or the values of a setting that permits only a few, such as true and false."""
    if key in _groups(loader):
        yield from option_names(loader, key)
    else:
        yield from _literals(hint_of(key))


def _literals(hint: Any) -> Iterator[str]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for one in arguments:
            yield from ("null",) if one is types.NoneType else _literals(one)
    elif origin is tuple:
        yield from _literals(arguments[0])
    elif hint is bool:
        yield from ("true", "false")
    elif isinstance(hint, type) and issubclass(hint, Enum):
        yield from (str(member.value) for member in hint)
