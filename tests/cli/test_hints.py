"""Every command and every setting that an error names as the next step exists, and its parser accepts it."""

from __future__ import annotations

import argparse
import ast
import importlib
import keyword
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import cosybuild
from cosybuild.cli.arguments import Parser
from cosybuild.cli.command_line import hydra_words
from cosybuild.cli.flags import split_flags
from cosybuild.cli.verbs import VERBS
from cosybuild.config.catalogue import groups, open_loader, options
from cosybuild.config.compose import config_directory, prepare
from cosybuild.config.setting_facts import group_settings, hint_of

PACKAGE = Path(cosybuild.__file__).parent
HOLE = "HOLE"
"""The text in place of a value that an f-string inserts."""

_COMMAND = re.compile(r"python -m cosybuild(?P<rest>[^`;\n]*)")
_END = re.compile(r",? (?:with|without|and|or|to|which|then|first)\b|[.,:)]+(?: |$)|  ")
"""The end of a command within a sentence that has no backticks."""

_ASSIGNED = re.compile(r"(?<![\w.$/'])(?P<key>[a-z_]+(?:\.[a-z_0-9]+)*)=(?P<value>[^\s,;`)]*)")
_PLACEHOLDER = re.compile(r"HOLE|[A-Z]|\.\.\.|[\[{<'\"(]|^$")


def texts() -> Iterator[tuple[str, str]]:
    """Yield (place, text) for every text of the package that is no docstring; a hole stands for an inserted value."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
        parts = {id(part) for node in joined for part in node.values}
        for node in ast.walk(tree):
            text = _text(node)
            if text is not None and id(node) not in documents | parts:
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", text


def _text(node: Any) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(HOLE if isinstance(value, ast.FormattedValue) else str(value.value) for value in node.values)
    return None


def commands() -> list[tuple[str, tuple[str, ...]]]:
    """Return (place, words) of every command `python -m cosybuild ...` in a text."""
    found = []
    for place, text in texts():
        for match in _COMMAND.finditer(text):
            quoted = text[match.start() - 1 : match.start()] == "`"
            rest = match["rest"] if quoted else _END.split(match["rest"])[0]
            try:
                found.append((place, tuple(shlex.split(rest))))
            except ValueError:
                found.append((place, (rest,)))
    return sorted(set(found))


COMMANDS = [(place, words) for place, words in commands() if words and words[0] != HOLE and "cli/help.py" not in place]
HINTS = [(place, text) for place, text in texts() if text.startswith("Next: ") and not place.startswith("runtime/")]
"""The hints of the build; those of `cosybuild.runtime` name arguments of functions."""


class Parsed(Exception):
    """The parser accepted the words."""


def accept(words: tuple[str, ...]) -> None:
    """Parse the words as their command does.

    Raises:
        ConfigurationError: the words are a usage error.
    """
    if words[0] in VERBS:
        name = f"{words[0]}_" if keyword.iskeyword(words[0]) else words[0]
        with pytest.raises(Parsed):
            importlib.import_module(f"cosybuild.cli.{name}").main(list(words[1:]))
        return
    _, rest = split_flags(words)
    given = hydra_words(rest)
    overrides = [word for word in given if "=" in word and not (_PLACEHOLDER.search(word) and "." not in word)]
    prepare()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        compose("config", overrides=overrides)


@pytest.fixture
def _parsing_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """End each verb after its parser."""

    def parse(self: Parser, arguments: Any) -> argparse.Namespace:
        given = [{"N": "1", "AGE": "1d", "SIZE": "1GB", HOLE: "1"}.get(word, word) for word in arguments]
        argparse.ArgumentParser.parse_intermixed_args(self, given) if self.prog.endswith("replay") else (
            argparse.ArgumentParser.parse_args(self, given)
        )
        raise Parsed

    monkeypatch.setattr(Parser, "parse_args", parse)
    monkeypatch.setattr(Parser, "parse_intermixed_args", parse)


@pytest.mark.usefixtures("_parsing_only")
@pytest.mark.parametrize(("place", "words"), COMMANDS, ids=[f"{place} {' '.join(w)}" for place, w in COMMANDS])
def test_a_command_in_a_message_is_no_usage_error(place: str, words: tuple[str, ...]) -> None:
    accept(words)


def test_settings_and_options_in_hints_exist() -> None:
    with open_loader() as loader:
        known = {group: {option.name for option in options(loader, group)} for group in groups(loader)}
    settings = {one.name for group in known for one in group_settings(group, {})}
    wrong = []
    for place, text in HINTS:
        for match in _ASSIGNED.finditer(text):
            key, value = match["key"], match["value"].rstrip(".:")
            if key in known:
                if not _PLACEHOLDER.search(value) and value not in known[key]:
                    wrong.append(f"{place}: {key}={value}")
            elif hint_of(key) is None and key not in settings | NOT_SETTINGS:
                wrong.append(f"{place}: {key}")
    assert wrong == []


NOT_SETTINGS = {"key", "endpoint_url", "save_as_external_data", "location", "address"}
"""Words before an equals sign that are no settings: a placeholder, and arguments of fsspec, onnx and ray."""


def test_the_search_finds_the_commands_and_hints() -> None:
    assert len(COMMANDS) > 20
    assert len(HINTS) > 100
    assert any(words[:2] == ("gc", "--dry-run") for _, words in COMMANDS)
