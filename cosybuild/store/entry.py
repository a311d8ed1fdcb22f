"""Entries of the store: an entry is the record of one finished step. It is written last and checked when it is read."""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from cosybuild import figure
from cosybuild.errors import ConfigurationError
from cosybuild.filename import fault_of, is_plain_name
from cosybuild.store.artifact import Artifact, StoredFile
from cosybuild.store.key import CacheKey
from cosybuild.system.json_records import checksum_of, no_number
from cosybuild.system.typed_json import from_json

SIZE_LIMIT = 64 * 2**20
"""The largest entry that is read, in bytes. Real entries are far smaller, but a remote could send anything."""


class DamagedEntry(ValueError):
    """Raised if bytes are not a valid entry. The message says why. Callers handle it; it is never shown as an error."""


@dataclass(frozen=True)
class Entry:
    """The record of a finished step.

    Attributes:
        key: the key of the step: the named parts that its result depends on.
        outputs: slot -> artifact; the files are in the store.
        metrics: the measurements of the stage, as plain JSON data.
        made: facts of the build: `at` (ISO time), `seconds`, `peak_bytes`, `host`, and `warnings` if there were any.
    """

    key: CacheKey
    outputs: Mapping[str, Artifact]
    metrics: Mapping[str, Any]
    made: Mapping[str, Any]

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """The files of all outputs."""
        return tuple(file for artifact in self.outputs.values() for file in artifact.files)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings that were given to the user while the step was built. Values that are not text are ignored."""
        found = self.made.get("warnings")
        return tuple(line for line in found if isinstance(line, str)) if isinstance(found, list | tuple) else ()

    @property
    def size(self) -> int:
        """The total size of all outputs in bytes."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class _File:
    name: str
    digest: str
    size: int

    def __post_init__(self) -> None:
        if not is_plain_name(self.name) or not is_digest(self.digest) or self.size < 0:
            raise ValueError(f"is an impossible file: {self.name!r}, {self.digest!r}, {self.size} bytes")


@dataclass(frozen=True)
class _Body:
    format: Literal[1]
    stage: str
    parts: Mapping[str, str]
    outputs: Mapping[str, Annotated[tuple[_File, ...], Meta(min_length=1)]]
    metrics: Mapping[str, Any]
    made: Mapping[str, Any]


@dataclass(frozen=True)
class _Made:
    """The facts of a build that plans and reports calculate with, with their types."""

    at: str = ""
    seconds: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    peak_bytes: Annotated[int, Meta(ge=0)] | None = None
    host: str = ""


@dataclass(frozen=True)
class _Document:
    sha256: str
    entry: Mapping[str, Any]


def encode(entry: Entry) -> bytes:
    """Return the entry as JSON with a checksum of its content.

    Raises:
        TypeError: `metrics` or `made` contain something other than plain data, which is a defect of the stage.
    """
    outputs = {
        slot: [{"name": file.name, "digest": file.digest, "size": file.size} for file in artifact.files]
        for slot, artifact in entry.outputs.items()
    }
    body = {
        "format": 1,
        "stage": entry.key.stage,
        "parts": dict(entry.key.parts),
        "outputs": outputs,
        "metrics": entry.metrics,
        "made": entry.made,
    }
    # Convert to JSON and back, so that the checksum is that of the data that a reader gets (a tuple becomes a list).
    body = json.loads(figure.dumps(body))
    return json.dumps({"sha256": checksum_of(body), "entry": body}, indent=1).encode() + b"\n"


def decode(data: bytes, key_digest: str, locate: Callable[[str], Path]) -> Entry:
    """Read the bytes that `encode` returned, and check every field.

    Args:
        data: the bytes. They may come from a damaged disk or from a remote that is not trusted.
        key_digest: the digest that the key must have. It is the name of the entry's file.
        locate: a function from a digest to the path of the stored file.

    Raises:
        DamagedEntry: a field is wrong; the message says which.
    """
    try:
        document = json.loads(data, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise DamagedEntry(f"is not JSON ({error})") from error
    try:
        whole = from_json(document, _Document, "the entry")
        if whole.sha256 != checksum_of(whole.entry):
            raise DamagedEntry("does not match its checksum")
        body = from_json(whole.entry, _Body, "the entry")
        from_json(body.made, _Made, "the entry.made")
    except ConfigurationError as error:
        raise DamagedEntry(f"is malformed: {error.message}") from error
    key = CacheKey(body.stage, body.parts)
    if key.digest != key_digest:
        raise DamagedEntry("has a key that does not match its name")
    outputs = {slot: _artifact(slot, files, locate) for slot, files in body.outputs.items()}
    _check_stage_outputs(key, outputs)
    return Entry(key, outputs, body.metrics, body.made)


def check_stage(stage: str) -> None:
    """Raise an error for a stage name that cannot be the name of a directory in the store.

    Raises:
        ConfigurationError: the name is not a plain file name. Only the record of another person can contain such a
            name.
    """
    if (fault := fault_of(stage)) is not None:
        raise ConfigurationError(
            f"A record names the step {stage!a}, and that name {fault}.",
            hint="Next: do not use the record; ask the sender for another one",
        )


def is_digest(text: str) -> bool:
    """Return True if `text` is a sha256 as 64 lower-case hexadecimal digits."""
    return len(text) == 64 and all(c in string.hexdigits[:16] for c in text)


def _artifact(slot: str, files: tuple[_File, ...], locate: Callable[[str], Path]) -> Artifact:
    if len({file.name for file in files}) != len(files):
        raise DamagedEntry(f"names a file of {slot!r} twice")
    return Artifact(slot, tuple(StoredFile(file.name, locate(file.digest), file.digest, file.size) for file in files))


def _check_stage_outputs(key: CacheKey, outputs: Mapping[str, Artifact]) -> None:
    """Raise an error for outputs that the stage cannot have made: slots that are not in the key, or an empty file."""
    made = key.parts.get("stage.makes")
    if made is None:
        return
    slots = {slot for slot in made.split(",") if slot}
    if slots != set(outputs):
        raise DamagedEntry(f"holds the outputs {sorted(outputs)}, where its step makes {sorted(slots)}")
    for slot, artifact in outputs.items():
        if any(file.size == 0 for file in artifact.files):
            raise DamagedEntry(f"holds an empty file for {slot!r}")
