"""Errors for wrong command lines: they say what was given, what is expected, and the next command.

They replace the messages of argparse.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterator

from cosybuild.errors import ConfigurationError

_ARGUMENT = re.compile(r"argument (?P<name>[^:]+): (?P<fault>.*)", re.S)
_CHOICE = re.compile(r"invalid choice: '?(?P<value>.*?)'? \(choose from", re.S)
_TYPE = re.compile(r"invalid (?P<kind>\w+) value: '(?P<value>.*)'", re.S)
_VERB = "verb"
_KINDS = {"int": "a whole number", "float": "a number"}


def usage_error(parser: argparse.ArgumentParser, command: str, hint: str, message: str) -> ConfigurationError:
    """Return the error for a command line that argparse does not accept.

    Args:
        parser: the parser that does not accept it.
        command: the command as the user types it, e.g. `store ls`.
        hint: the sentence that tells the user which command to run next.
        message: the message of argparse.
    """
    return ConfigurationError(f"{command}: {_sentence(parser, message)}", hint=hint)


def _sentence(parser: argparse.ArgumentParser, message: str) -> str:
    unknown, required = "unrecognized arguments: ", "the following arguments are required: "
    if message.startswith(unknown):
        word = message.removeprefix(unknown).split()[0]
        known = [flag for action in _actions(parser) for flag in action.option_strings]
        near = difflib.get_close_matches(word.partition("=")[0], known, n=1) if word.startswith("-") else []
        return (
            f"the argument '{word}' is not expected.{f' Did you mean {near[0]}?' if near else f' {_expected(parser)}'}"
        )
    if message.startswith(required):
        missing = message.removeprefix(required).split(", ")
        told = (f"{name}{_purpose(_action(parser, name))}" for name in missing)
        return f"the command needs {'; '.join(told)}."
    found = _ARGUMENT.fullmatch(message)
    if found is None:
        return f"{message}."
    name, fault = found["name"], found["fault"]
    action = _action(parser, name)
    if (choice := _CHOICE.match(fault)) and action is not None and action.choices is not None:
        choices = [str(one) for one in action.choices]
        near = difflib.get_close_matches(choice["value"], choices, n=1)
        guess = f" Did you mean {near[0]}?" if near else ""
        what = "one of its commands" if name == _VERB else f"a value of {name}"
        return f"'{choice['value']}' is not {what}; expected one of {', '.join(choices)}.{guess}"
    if kind := _TYPE.fullmatch(fault):
        return f"{name}: '{kind['value']}' is not {_KINDS.get(kind['kind'], f'a value of {name}')}."
    if fault.startswith("expected "):
        metavar = "" if action is None else f" {action.metavar or action.dest.upper()}"
        return f"{name} needs a value{metavar}{_purpose(action)}."
    return f"{name}: {fault}."


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    yield from parser._actions  # argparse has no public list of the arguments


def _action(parser: argparse.ArgumentParser, name: str) -> argparse.Action | None:
    """Return the declared argument to which a message refers by `--limit`, `--cfg/-c`, `RUN` or `verb`."""
    words = set(name.split("/"))
    return next((a for a in _actions(parser) if words & {*a.option_strings, str(a.metavar), a.dest}), None)


def _purpose(action: argparse.Action | None) -> str:
    """Return the help of an argument, or its choices, in parentheses."""
    if action is None:
        return ""
    choices = f"one of {', '.join(map(str, action.choices))}" if action.choices is not None else ""
    text = choices or ("" if action.help is None else action.help % {**vars(action), "prog": ""})
    return f" ({text})" if text else ""


def _expected(parser: argparse.ArgumentParser) -> str:
    """Return a sentence with the arguments that the command takes."""
    positional = [str(a.metavar or a.dest) for a in _actions(parser) if not a.option_strings]
    flags = [a.option_strings[0] for a in _actions(parser) if a.option_strings]
    return f"Expected: {', '.join([*positional, *flags])}."
