"""JSON records, written atomically and checked when they are read. An error for a damaged record names its path."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cosybuild import figure
from cosybuild.errors import ConfigurationError
from cosybuild.system.files import read_regular, write_text
from cosybuild.system.typed_json import RECORD_HINT, from_json

SCHEMA = 1
"""The version of the records' format. A record in another version of the format is not read."""

LARGEST = 32 * 2**20
"""The largest record that is read, in bytes. Most are far smaller; parsed JSON can take thirty times its size."""

CHECKSUM = "checksum"
"""The field of a record with the checksum of all other fields (`checksum_of`), by which damage is detected."""

DEEPEST = 64
"""The largest permitted nesting of objects and lists in a record. Our records have fewer than twenty levels."""


def read_json(text: str | bytes) -> Any:
    """Parse a JSON text that is not trusted.

    Some constructs are refused, because JSON readers interpret them differently or because they cause errors elsewhere:
    a name that occurs twice in an object, numbers that JSON does not have (NaN, Infinity) or that fit neither 64 bits
    nor a float, and deep nesting.

    Raises:
        ValueError: the text is not JSON or contains such a construct.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=no_number, parse_float=_finite, parse_int=_whole
        )
    except RecursionError as error:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels") from error
    level = [value]
    for _ in range(DEEPEST):
        level = [part for one in level if isinstance(one, dict | list) for part in _parts(one)]
        if not level:
            return value
    raise ValueError(f"it is nested deeper than {DEEPEST} levels")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the name {twice!a} occurs twice in one object")
    return found


def no_number(text: str) -> Any:
    """Raise an error for `NaN` or `Infinity`, which Python's JSON reader would accept as numbers.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _whole(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
        raise ValueError(f"the number {text[:20]} is too large")
    return int(text)


def _parts(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def read_record(path: Path, kind: str) -> Mapping[str, Any]:
    """Read a record, which must have this kind, the present schema and a correct checksum.

    Args:
        path: the file.
        kind: the expected kind of record, such as `report`.

    Raises:
        ConfigurationError: there is no such file, it is not JSON or too large, or its kind, schema or checksum is
            wrong.
    """
    try:
        plain = read_json(read_regular(path, LARGEST).decode("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path} cannot be read as the {kind} of a run: {error}.",
            hint="Next: name a run directory, e.g. one under outputs/runs",
        ) from error
    record = from_json(plain, dict[str, Any], str(path))
    found = record.get("kind"), record.get("schema")
    if found != (kind, SCHEMA):
        raise ConfigurationError(
            f"{path} has kind {found[0]!r}, schema {found[1]!r}; expected kind '{kind}', schema {SCHEMA}.",
            hint="Next: read it with the cosybuild that wrote it, or run the build again",
        )
    if record.get(CHECKSUM) != checksum_of({name: value for name, value in record.items() if name != CHECKSUM}):
        raise ConfigurationError(f"{path} is damaged: it does not match its checksum.", hint=RECORD_HINT)
    return record


def checksum_of(value: Any) -> str:
    """Return the sha256 of JSON data. The order of names and white space do not change it."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def record_text(kind: str, value: Mapping[str, Any]) -> str:
    """Return the text of a record.

    Args:
        kind: the kind of record, such as `report`.
        value: its fields, without kind, schema and checksum, which are added. A value that JSON does not know is
            written as `str(value)`.
    """
    assert CHECKSUM not in value, "a record that was read is written again with its old checksum"
    # Convert to JSON and back, so that the checksum is that of the data that a reader gets (a tuple becomes a list).
    plain = json.loads(figure.dumps({"schema": SCHEMA, "kind": kind, **value}, default=str))
    return json.dumps({**plain, CHECKSUM: checksum_of(plain)}, indent=2, ensure_ascii=False) + "\n"


def write_record(path: Path, kind: str, value: Mapping[str, Any]) -> None:
    """Write `value` atomically as a record of this kind, which `read_record` can read."""
    write_text(path, record_text(kind, value))


def write_json(path: Path, plain: Any) -> None:
    """Write plain data as JSON, atomically. A value that JSON does not know is written as `str(value)`."""
    write_text(path, figure.dumps(plain, indent=2, ensure_ascii=False, default=str) + "\n")
