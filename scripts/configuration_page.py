#!/usr/bin/env python3
"""Write docs/configuration.md from the declarations of the settings and the option files.

With `--check` it writes nothing, and ends with 1 if the page differs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl

from cosybuild.config.catalogue import compose_root, groups, open_loader, options
from cosybuild.config.groups.field import settings_class
from cosybuild.config.setting_facts import SettingFacts, composed_defaults, group_settings, root_settings
from cosybuild.config.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
_HEAD = """\
<!-- Written by scripts/configuration_page.py; change the settings in cosybuild/config/groups or the files in conf. -->

# Configuration

`group=option` chooses a file of `conf/`, `group.setting=value` changes one setting of it; both stand on the command
line in any order. `python -m cosybuild options` prints what is on this page, with the options of installed packages
too, and `python -m cosybuild --cfg job` the configuration that a command composes.

The option that is taken where nothing is said is marked with a star. *Default* is a setting's value in that case; for a
group that is off it is the value once the group is chosen. `null` stands for nothing; an option `none` or `off`
switches its group off.
"""


def page() -> str:
    """Return the whole page as Markdown."""
    with open_loader() as loader:
        defaults = composed_defaults(compose_root(loader, []))
        parts = [_HEAD, "## Settings of no group\n", *_table(root_settings(defaults))]
        for group in groups(loader):
            parts.extend(_group(loader, group, defaults))
    return "\n".join(parts)


def _group(loader: ConfigLoaderImpl, group: str, defaults: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {group}\n"
    cls = settings_class(Settings, group)
    if cls is not None:
        yield f"{_cell((cls.__doc__ or '').split(chr(10) * 2)[0])}\n"
    yield "| option | |\n| --- | --- |"
    for option in options(loader, group):
        yield f"| `{group}={option.name}`{' ★' if option.chosen else ''} | {_cell(option.purpose)} |"
    yield ""
    if cls is not None:
        yield from _table(group_settings(group, defaults))


def _table(settings: Iterable[SettingFacts]) -> Iterator[str]:
    yield "| setting | values | default | |\n| --- | --- | --- | --- |"
    for one in settings:
        values = one.values(lambda word: f"`{word}`")
        yield f"| `{one.name}` | {values} | {_shown(one.default_text)} | {_cell(one.help)} |"
    yield ""


def _shown(default: str | None) -> str:
    if default is None:
        return "none"
    return "see the option" if default == "..." else f"`{_cell(default)}`"


def _cell(text: str) -> str:
    """Escape text, so that it cannot end a cell or begin markup."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def main() -> int:
    text = page()
    if "--check" in sys.argv[1:]:
        return int(PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
