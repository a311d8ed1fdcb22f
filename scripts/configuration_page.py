#!/usr/bin/env python3
"""Write docs/configuration.md from the declarations of the settings and the option files.

With `--check` it writes nothing, and ends with 1 if the page differs.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import OmegaConf

from cosybuild.config.catalogue import compose_root, groups, options, searching
from cosybuild.config.settings import Settings
from cosybuild.system.typed_json import to_json

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
    with searching() as loader:
        root = compose_root(loader, [])
        defaults = OmegaConf.to_container(OmegaConf.masked_copy(root, [f.name for f in dataclasses.fields(Settings)]))
        assert isinstance(defaults, dict)
        parts = [_HEAD, *_root(defaults)]
        for group in groups(loader):
            parts.extend(_group(loader, group, defaults.get(group)))
    return "\n".join(parts)


def _root(defaults: dict[Any, Any]) -> Iterator[str]:
    hints = typing.get_type_hints(Settings)
    yield "## Settings of no group\n"
    fields = [field for field in dataclasses.fields(Settings) if _settings_class(hints[field.name]) is None]
    yield from _table(_row(f.name, hints[f.name], defaults[f.name], f.metadata["help"]) for f in fields)


def _group(loader: ConfigLoaderImpl, group: str, chosen: Any) -> Iterator[str]:
    yield f"## {group}\n"
    hint = typing.get_type_hints(Settings).get(group)
    cls = _settings_class(hint)
    if cls is not None:
        yield f"{_cell(cls.__doc__.split(chr(10) * 2)[0])}\n"
    yield "| option | |\n| --- | --- |"
    for option in options(loader, group):
        yield f"| `{group}={option.name}`{' ★' if option.chosen else ''} | {_cell(option.purpose)} |"
    yield ""
    if cls is not None:
        yield from _table(_rows(cls, group, chosen))


def _table(rows: Iterator[str]) -> Iterator[str]:
    yield "| setting | values | default | |\n| --- | --- | --- | --- |"
    yield from rows
    yield ""


def _rows(cls: Any, prefix: str, values: Any) -> Iterator[str]:
    """Return one row for each setting, nested settings included.

    Args:
        values: setting -> value in the composed configuration; None where the group is off.
    """
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        hint, name = hints[field.name], f"{prefix}.{field.name}"
        value = values[field.name] if isinstance(values, dict) else _default(field)
        nested = _settings_class(hint)
        if nested is not None:
            yield from _rows(nested, name, value if isinstance(value, dict) else None)
            continue
        yield _row(name, hint, value, field.metadata["help"])
        path, element = _element(hint)
        if element is not None:
            yield from _rows(element, f"{name}{path}", None)


def _row(name: str, hint: Any, value: Any, help: str) -> str:
    return f"| `{name}` | {_values(hint)} | {_shown(value)} | {_cell(help)} |"


def _values(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return f"{_values(arguments[0])} or null"
    if origin is tuple:
        return f"list of {_values(arguments[0])}"
    if origin is dict:
        return f"name: {_values(arguments[1])}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(f"`{member.value}`" for member in hint)
    if dataclasses.is_dataclass(hint):
        return "settings as below"
    return {str: "text", bool: "`true`, `false`", int: "whole number", float: "number"}.get(hint, "any")


def _shown(value: Any) -> str:
    """Return a default as a user would type it; text such as `???` means that there is none."""
    if isinstance(value, Enum):
        value = value.value
    if value == "???":
        return "none"
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{_cell(text)}`" if len(text) <= 40 else "see the option"


def _default(field: dataclasses.Field[Any]) -> Any:
    made = field.default if field.default is not dataclasses.MISSING else field.default_factory()  # type: ignore[misc]
    return to_json(made)


def _settings_class(hint: Any) -> Any:
    """Return the dataclass of a group, which may be optional; None for any other type."""
    return next((c for c in (hint, *_alternatives(hint)) if dataclasses.is_dataclass(c)), None)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else ()


def _element(hint: Any) -> tuple[str, Any]:
    """Return the path of an element of a list or mapping of settings, and its dataclass."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return "", hint
    if origin is tuple:
        path, element = _element(arguments[0])
        return f"[i]{path}", element
    if origin is dict:
        path, element = _element(arguments[1])
        return f".NAME{path}", element
    return "", None


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
