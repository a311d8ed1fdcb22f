"""JSON records, written atomically and checked when read: a damaged or foreign record is refused with its path."""

from __future__ import annotations

import hashlib
import json
import math
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from cosybuild import figure
from cosybuild.errors import ConfigurationError

SCHEMA = 1
"""The version of the records' form, increased when it changes; other versions of cosybuild then refuse a record."""

CHECKSUM = "checksum"
"""The field of a record that holds `checksum_of` all other fields and so reveals a flipped byte."""

TEMPORARY = ".tmp"
"""The suffix of a file that `write_text` has not finished; only a killed process leaves one."""

DEEPEST = 64
"""The deepest permitted nesting of objects and lists in a record; our records have fewer than twenty levels."""

T = TypeVar("T")


def read_json(text: str | bytes) -> Any:
    """Parse a JSON text that is not trusted.

    Constructs are refused on which JSON readers disagree or which cause errors elsewhere: a name that occurs twice in
    an object, numbers that JSON lacks (NaN, Infinity) or that fit neither 64 bits nor a float, and deep nesting.

    Raises:
        ValueError: the text is no JSON or contains such a construct.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_finite, parse_int=_whole
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
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(n for n in names if names.count(n) > 1)!a} stands twice in one object")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


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


class JsonReader:
    """A checked reader of one JSON object that knows its path, e.g. `report.json.steps[2].key`.

    The methods that read a field raise ConfigurationError if its value has another type than requested.
    """

    def __init__(self, value: Any, where: str) -> None:
        self.where = where
        if not isinstance(value, dict):
            raise self.wrong("an object", value)
        self._value: dict[str, Any] = value

    def wrong(self, expected: str, found: Any) -> ConfigurationError:
        """Return the error for a value that is not what was expected here."""
        text = repr(found)
        shown = text if len(text) <= 80 else f"{text[:80]}…"
        return ConfigurationError(
            f"{self.where} should be {expected} and is {shown}.",
            hint="Next: run the build again; it writes a new record",
        )

    def get(self, name: str, kind: type[T] | tuple[type[T], ...], *, null: bool = False) -> T:
        """Return the field `name`; with `null` it may be null or missing (the caller's type then says `| None`)."""
        value = self._value.get(name)
        if value is None and null:
            return value  # type: ignore[return-value]  # the caller asked for it
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise self.at(name).wrong(" or ".join(k.__name__ for k in kinds), value)
        return value

    def text(self, name: str) -> str:
        return self.get(name, str)

    def number(self, name: str) -> float:
        return float(self.get(name, (int, float)))

    def object(self, name: str) -> JsonReader:
        return JsonReader(self._value.get(name), f"{self.where}.{name}")

    def optional_object(self, name: str) -> JsonReader | None:
        return None if self._value.get(name) is None else self.object(name)

    def objects(self, name: str) -> Iterator[JsonReader]:
        for index, value in enumerate(self.get(name, list)):
            yield JsonReader(value, f"{self.where}.{name}[{index}]")

    def texts(self, name: str) -> tuple[str, ...]:
        values = self.get(name, list)
        if not all(isinstance(value, str) for value in values):
            raise self.at(name).wrong("a list of text", values)
        return tuple(values)

    def items(self) -> Iterator[tuple[str, JsonReader]]:
        """Yield name and value of every field; each must be an object."""
        for name in self._value:
            yield name, self.object(name)

    def text_items(self) -> dict[str, str]:
        """Return all fields; each must be text."""
        return {name: self.text(name) for name in self._value}

    def raw(self) -> Mapping[str, Any]:
        """Return the object without any check."""
        return self._value

    def at(self, name: str) -> JsonReader:
        """Return an empty reader at the path of the field `name`, for messages."""
        return JsonReader({}, f"{self.where}.{name}")


def read_record(path: Path, kind: str) -> JsonReader:
    """Read the record in `path`, which must have this kind, the present schema and a correct checksum.

    Raises:
        ConfigurationError: there is no such file, it is no JSON, or kind, schema or checksum is wrong.
    """
    try:
        plain = JsonReader(read_json(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path} cannot be read as the {kind} of a run: {error}.",
            hint="Next: name a run directory, e.g. one under outputs/runs",
        ) from error
    found = plain.raw().get("kind"), plain.raw().get("schema")
    if found != (kind, SCHEMA):
        raise ConfigurationError(
            f"{path} holds kind {found[0]!r}, schema {found[1]!r}; expected kind '{kind}', schema {SCHEMA}.",
            hint="Next: read it with the cosybuild that wrote it, or run the build again",
        )
    if plain.raw().get(CHECKSUM) != checksum_of({n: v for n, v in plain.raw().items() if n != CHECKSUM}):
        raise ConfigurationError(
            f"{path} is damaged: it does not match its checksum.",
            hint="Next: run the build again; it writes a new record",
        )
    return plain


def checksum_of(value: Any) -> str:
    """Return the sha256 of JSON data, independent of the order of names and of white space."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def record_text(kind: str, value: Mapping[str, Any]) -> str:
    """Return the text of a record; values that JSON does not know are written as `str(value)`."""
    assert CHECKSUM not in value, "a record that was read is written again with its old checksum"
    # Through JSON and back, so that the checksum covers what a reader sees (a tuple becomes a list).
    plain = json.loads(figure.dumps({"schema": SCHEMA, "kind": kind, **value}, default=str))
    return json.dumps({**plain, CHECKSUM: checksum_of(plain)}, indent=2, ensure_ascii=False) + "\n"


def write_record(path: Path, kind: str, value: Mapping[str, Any]) -> None:
    """Write `value` as a record of this kind, for `read_record`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, record_text(kind, value))


def write_json(path: Path, plain: Any) -> None:
    """Write JSON; values that JSON does not know are written as `str(value)`."""
    write_text(path, figure.dumps(plain, indent=2, ensure_ascii=False, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: a reader sees the old file or the new one, never a part."""
    # A unique name, because several processes of a sweep write the same report.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        # A path may contain bytes that are no UTF-8; they must not prevent writing the record.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
