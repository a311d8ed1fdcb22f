"""`options [GROUP[=OPTION]]`: list groups, options and settings, or print the content of an option."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl

from cosybuild.cli.arguments import Parser
from cosybuild.cli.printed import say
from cosybuild.config.catalogue import composed_piece, groups, options, searching
from cosybuild.config.groups.field import settings_class
from cosybuild.config.json_schema import json_schema
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError


def main(arguments: Sequence[str]) -> int:
    """List the groups and options, show one of them, or print a JSON schema for editors."""
    parser = Parser.of_verb("options", __doc__)
    parser.add_argument("what", nargs="?", default="", metavar="GROUP[=OPTION]", help="default: every group")
    parser.switch("--json-schema", "print the schema of the configuration, or of GROUP")
    parser.repeated("--config-dir", "DIR", "a directory to search first", Path)
    given = parser.parse_args(arguments)
    group, _, name = given.what.partition("=")
    if given.json_schema:
        try:
            print(json.dumps(json_schema(group or None), indent=2))
        except KeyError:
            raise _unknown("group with settings", group, [f.name for f in dataclasses.fields(Settings)]) from None
        return 0
    for directory in given.config_dir:
        if not directory.is_dir():
            raise ConfigurationError(f"--config-dir {directory} is not a directory.", hint="Next: correct the path.")
    with searching(given.config_dir) as loader:
        known = groups(loader)
        if group and group not in known:
            raise _unknown("group", group, known)
        if name:
            names = [option.name for option in options(loader, group)]
            if name not in names:
                raise _unknown(f"option of {group}", name, names)
            say(composed_piece(loader, group, name), end="")
            return 0
        for shown in [group] if group else known:
            say("\n".join(_group(loader, shown, detailed=bool(group))))
    return 0


def _group(loader: ConfigLoaderImpl, group: str, *, detailed: bool) -> Iterator[str]:
    found = list(options(loader, group))
    width = max((len(option.name) for option in found), default=0)
    yield group
    for option in found:
        origin = f"  [{option.provider}]" if option.provider else ""
        yield f"  {'*' if option.chosen else ' '} {option.name:<{width}}  {option.purpose}{origin}"
    if detailed:
        yield from _settings(group)


def _settings(group: str) -> Iterator[str]:
    """Yield each setting of the group with its help."""
    cls = settings_class(Settings, group)
    if cls is None:
        return
    fields = dataclasses.fields(cls)
    width = max(len(field.name) for field in fields)
    yield ""
    for field in fields:
        yield f"    {group}.{field.name:<{width}}  {field.metadata['help']}"


def _unknown(what: str, given: str, known: Sequence[str]) -> ConfigurationError:
    return ConfigurationError(
        f"There is no {what} '{given}'. There are: {', '.join(known)}.",
        hint="Next: `python -m cosybuild options` lists all of them.",
    )
