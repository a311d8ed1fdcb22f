"""Imported runs, which other people made: the file that marks them, and the settings that are used on this machine.

Everything in such a run is treated as data. Only `import` writes the mark; an archive can neither contain nor remove
it.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.config.groups.field import settings_class
from cosybuild.config.settings import Settings
from cosybuild.models.directory.hub import is_hub_id
from cosybuild.system.json_records import read_record, write_record
from cosybuild.system.typed_json import from_json, to_json

MARK = "foreign.json"
"""The file in a run directory that marks the run as imported."""


@dataclass(frozen=True)
class Origin:
    """The origin of an imported run, as its mark states it.

    Attributes:
        archive: the name of the archive when it was imported.
        sha256: the sha256 of the archive.
        imported: the time of the import in seconds since the epoch.
        results: True if the results of the steps were added to the store.
        signer: the fingerprint of the key that signed the archive; None if no signature was verified.
    """

    archive: str
    sha256: str
    imported: float
    results: bool
    signer: str | None = None


def write_mark(directory: Path, origin: Origin) -> None:
    """Write the file that marks a run directory as an imported run."""
    write_record(directory / MARK, "foreign run", to_json(origin))


def origin_of_run(directory: Path) -> Origin | None:
    """Return the origin of an imported run from its mark; None if the run was made here.

    Raises:
        ConfigurationError: the mark is damaged.
    """
    if not os.path.lexists(directory / MARK):
        return None
    return from_json(read_record(directory / MARK, "foreign run"), Origin, str(directory / MARK))


def local_settings(cls: type = Settings, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of the settings whose values are valid on one machine only, such as paths.

    Args:
        cls: the class whose settings are searched.
        prefix: the beginning of the dotted names.
    """
    for field in dataclasses.fields(cls):
        if field.metadata.get("local"):
            yield f"{prefix}{field.name}"
            continue
        if (inner := settings_class(cls, field.name)) is not None:
            yield from local_settings(inner, f"{prefix}{field.name}.")


def without_local(plain: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Remove the settings that are valid only on the recording machine from a recorded configuration.

    A hub id in `model_dir` is kept, unless a file or directory of this machine has the same name.

    Args:
        plain: the recorded configuration; it is not changed.

    Returns:
        The remaining configuration, and dotted name -> value of the removed settings.
    """
    kept: dict[str, Any] = copy.deepcopy(dict(plain))
    taken: dict[str, str] = {}
    for name in local_settings():
        *way, last = name.split(".")
        node: Any = kept
        for step in way:
            node = node.get(step) if isinstance(node, dict) else None
        if not isinstance(node, dict) or node.get(last) is None:
            continue
        value = node[last]
        if name == "model_dir" and isinstance(value, str) and is_hub_id(value) and not os.path.lexists(value):
            continue
        taken[name] = value if isinstance(value, str) else "..."
        node[last] = None
    return kept, taken
