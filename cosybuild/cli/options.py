"""`options [GROUP[=OPTION] | SETTING]`: list groups, options and settings, or print the content of an option."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl

from cosybuild.cli.arguments import Parser
from cosybuild.cli.printed import say
from cosybuild.config.catalogue import compose_root, composed_piece, groups, open_loader, options
from cosybuild.config.compose import unknown_setting
from cosybuild.config.json_schema import json_schema
from cosybuild.config.setting_facts import SettingFacts, composed_defaults, group_settings, root_settings
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError


def main(arguments: Sequence[str]) -> int:
    """List the groups and options, show one of them, or print a JSON schema for editors."""
    parser = Parser.of_verb("options", __doc__)
    parser.add_argument("what", nargs="?", default="", metavar="GROUP[=OPTION] | SETTING", help="default: every group")
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
    with open_loader(given.config_dir) as loader:
        known = groups(loader)
        defaults = composed_defaults(compose_root(loader, []))
        ungrouped = [one for one in root_settings(defaults) if one.name == group]
        if ungrouped or "." in group:
            say("\n".join(_settings(ungrouped or _named(group, defaults))))
            return 0
        if group and group not in known:
            raise _unknown("group", group, known)
        if name:
            names = [option.name for option in options(loader, group)]
            if name not in names:
                raise _unknown(f"option of {group}", name, names)
            say(composed_piece(loader, group, name), end="")
            return 0
        for shown in [group] if group else known:
            say("\n".join(_group(loader, shown)))
        say("\n".join(_settings(group_settings(group, defaults) if group else root_settings(defaults))))
    return 0


def _group(loader: ConfigLoaderImpl, group: str) -> Iterator[str]:
    found = list(options(loader, group))
    width = max((len(option.name) for option in found), default=0)
    yield group
    for option in found:
        origin = f"  [{option.provider}]" if option.provider else ""
        yield f"  {'*' if option.chosen else ' '} {option.name:<{width}}  {option.purpose}{origin}"


def _settings(settings: Iterable[SettingFacts]) -> Iterator[str]:
    """Yield two lines for each setting: first its name, permitted values and default, then its documentation."""
    for one in settings:
        default = "mandatory" if one.default_text is None else f"default: {one.default_text}"
        yield f"\n  {one.name}  {one.values()} ({default})\n      {one.help}"


def _named(name: str, defaults: Mapping[str, Any]) -> list[SettingFacts]:
    """Return the setting with a dotted name, or all settings whose names begin with it.

    Raises:
        ConfigurationError: there is no such setting.
    """
    found = [one for one in group_settings(name.partition(".")[0], defaults) if f"{one.name}.".startswith(f"{name}.")]
    if not found:
        raise unknown_setting(name)
    return found


def _unknown(what: str, given: str, known: Sequence[str]) -> ConfigurationError:
    near = difflib.get_close_matches(given, known, n=1)
    return ConfigurationError(
        f"There is no {what} '{given}'.{f' Did you mean {near[0]}?' if near else ''} There are: {', '.join(known)}.",
        hint="Next: `python -m cosybuild options` lists all of them.",
    )
