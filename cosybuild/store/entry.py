"""Entries of the store: the record of one finished step, written last and checked in every part when read."""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild import figure
from cosybuild.errors import ConfigurationError
from cosybuild.filename import fault_of, is_plain_name
from cosybuild.store.artifact import Artifact, StoredFile
from cosybuild.store.key import CacheKey
from cosybuild.system.json_records import checksum_of

FORMAT = 1
SIZE_LIMIT = 64 * 2**20
"""The largest entry that is read, in bytes. Real entries are far smaller; a remote could send anything."""


class DamagedEntry(ValueError):
    """The bytes are no valid entry; the message says why. Callers handle it; users never see it as an error."""


@dataclass(frozen=True)
class Entry:
    """A finished step.

    Attributes:
        key: the key of its ingredients.
        outputs: slot -> artifact; the files are in the store.
        metrics: the stage's figures, plain JSON data.
        made: facts of the build: `at` (ISO time), `seconds`, `peak_bytes`, `host`, ...
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
    def size(self) -> int:
        """The total size of all outputs in bytes."""
        return sum(file.size for file in self.files)


def encode(entry: Entry) -> bytes:
    """Return the entry as JSON with a checksum of its content.

    Raises:
        TypeError: `metrics` or `made` hold something other than plain data (a defect of the stage).
    """
    outputs = {
        slot: [{"name": file.name, "digest": file.digest, "size": file.size} for file in artifact.files]
        for slot, artifact in entry.outputs.items()
    }
    body = {
        "format": FORMAT,
        "stage": entry.key.stage,
        "parts": dict(entry.key.parts),
        "outputs": outputs,
        "metrics": entry.metrics,
        "made": entry.made,
    }
    # Through JSON and back, so that the checksum covers what a reader sees (a tuple becomes a list).
    body = json.loads(figure.dumps(body))
    return json.dumps({"sha256": checksum_of(body), "entry": body}, indent=1).encode() + b"\n"


def decode(data: bytes, key_digest: str, locate: Callable[[str], Path]) -> Entry:
    """Read what `encode` wrote and check every part of it.

    Args:
        data: the bytes, from a disk that may be damaged or a remote that is not trusted.
        key_digest: the digest that the key must have, which is the entry's file name.
        locate: returns the path of the content with a digest.

    Raises:
        DamagedEntry: a part is wrong; the message says which.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedEntry(f"is not JSON ({error})") from error
    body = _member(document, "entry", dict)
    number = _member(body, "format", int)
    if number != FORMAT:
        raise DamagedEntry(f"has format {number}, this version reads {FORMAT}")
    if _member(document, "sha256", str) != checksum_of(body):
        raise DamagedEntry("does not match its checksum")
    parts = _member(body, "parts", dict)
    if not all(isinstance(value, str) for value in parts.values()):
        raise DamagedEntry("has a key part that is not text")
    key = CacheKey(_member(body, "stage", str), parts)
    if key.digest != key_digest:
        raise DamagedEntry("holds another key than its name says")
    outputs = {slot: _artifact(slot, files, locate) for slot, files in _member(body, "outputs", dict).items()}
    _hold_to_stage(key, outputs)
    return Entry(key, outputs, _member(body, "metrics", dict), _member(body, "made", dict))


def check_stage(stage: str) -> None:
    """Refuse a stage name that cannot be the name of a directory in the store.

    Raises:
        ConfigurationError: it is no plain file name; only a foreign record can contain such a name.
    """
    if (fault := fault_of(stage)) is not None:
        raise ConfigurationError(
            f"A record names the step {stage!a}, and that name {fault}.",
            hint="Next: do not use the record; ask whoever sent it for another",
        )


def is_digest(text: str) -> bool:
    """Return True if `text` is a sha256 in lower-case hex."""
    return len(text) == 64 and all(c in string.hexdigits[:16] for c in text)


def _artifact(slot: str, files: Any, locate: Callable[[str], Path]) -> Artifact:
    if not isinstance(files, list) or not files:
        raise DamagedEntry(f"lists no files for {slot!r}")
    stored = []
    for file in files:
        name, digest, size = _member(file, "name", str), _member(file, "digest", str), _member(file, "size", int)
        if not is_plain_name(name) or not is_digest(digest) or size < 0:
            raise DamagedEntry(f"names an impossible file for {slot!r}: {name!r}, {digest!r}, {size} bytes")
        stored.append(StoredFile(name, locate(digest), digest, size))
    if len({file.name for file in stored}) != len(stored):
        raise DamagedEntry(f"names a file of {slot!r} twice")
    return Artifact(slot, tuple(stored))


def _hold_to_stage(key: CacheKey, outputs: Mapping[str, Artifact]) -> None:
    """Refuse outputs that the stage cannot have made: slots other than those in the key, or an empty file."""
    made = key.parts.get("stage.makes")
    if made is None:
        return
    slots = {slot for slot in made.split(",") if slot}
    if slots != set(outputs):
        raise DamagedEntry(f"holds the outputs {sorted(outputs)}, where its step makes {sorted(slots)}")
    for slot, artifact in outputs.items():
        if any(file.size == 0 for file in artifact.files):
            raise DamagedEntry(f"holds an empty file for {slot!r}")


def _member(mapping: Any, name: str, kind: type) -> Any:
    value = mapping.get(name) if isinstance(mapping, dict) else None
    # bool is a subclass of int, and no member is a bool
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DamagedEntry(f"has no proper {name!r}")
    return value
