"""JSON written whole and read back with checks: a damaged or foreign record is named and not half believed."""

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
"""Raised when a record's form changes; an older cosybuild then refuses it by name."""

CHECKSUM = "checksum"
"""The field of a record that tells a flipped byte: `checksum_of` all the others."""

TEMPORARY = ".tmp"
"""Ends the name of what `write_text` has not finished; only a killed process leaves one."""

DEEPEST = 64
"""Objects and lists within each other that a record may have; ours have fewer than twenty."""

T = TypeVar("T")


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text that may come from anybody.

    Refuses what JSON readers disagree on, or what ends in an error somewhere else: a name that stands twice in an
    object, numbers that JSON does not have (NaN, Infinity) or that fit neither 64 bits nor a float, and deep nesting.

    Raises:
        ValueError: it is no such text.
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


class Plain:
    """One JSON object and the way to it, e.g. `outcome.json: steps[2].key`.

    Every method raises ConfigurationError where the value is not of the kind asked for.
    """

    def __init__(self, value: Any, where: str) -> None:
        self.where = where
        if not isinstance(value, dict):
            raise self.wrong("an object", value)
        self._value: dict[str, Any] = value

    def wrong(self, expected: str, found: Any) -> ConfigurationError:
        """The error for a value that is not what a record holds."""
        text = repr(found)
        shown = text if len(text) <= 80 else f"{text[:80]}…"
        return ConfigurationError(
            f"{self.where} should be {expected} and is {shown}.",
            hint="Next: run the build again; it writes a new record",
        )

    def get(self, name: str, kind: type[T] | tuple[type[T], ...], *, null: bool = False) -> T:
        """The field `name`; with `null` it may also be null (the caller's type then says `| None`)."""
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

    def optional_number(self, name: str) -> float | None:
        value: float | None = self.get(name, (int, float), null=True)
        return None if value is None else float(value)

    def optional_count(self, name: str) -> int | None:
        value: int | None = self.get(name, int, null=True)
        return value

    def object(self, name: str) -> Plain:
        return Plain(self._value.get(name), f"{self.where}.{name}")

    def optional_object(self, name: str) -> Plain | None:
        return None if self._value.get(name) is None else self.object(name)

    def objects(self, name: str) -> Iterator[Plain]:
        for index, value in enumerate(self.get(name, list)):
            yield Plain(value, f"{self.where}.{name}[{index}]")

    def texts(self, name: str) -> tuple[str, ...]:
        values = self.get(name, list)
        if not all(isinstance(value, str) for value in values):
            raise self.at(name).wrong("a list of text", values)
        return tuple(values)

    def items(self) -> Iterator[tuple[str, Plain]]:
        """The fields, each of them an object."""
        for name in self._value:
            yield name, self.object(name)

    def text_items(self) -> dict[str, str]:
        """The fields, each of them text."""
        return {name: self.text(name) for name in self._value}

    def raw(self) -> Mapping[str, Any]:
        """The object as it is."""
        return self._value

    def at(self, name: str) -> Plain:
        """For messages: a place named `name` in this object."""
        return Plain({}, f"{self.where}.{name}")


def read_record(path: Path, kind: str) -> Plain:
    """The JSON object in `path`, which must say that it is a `kind` of this schema.

    Raises:
        ConfigurationError: there is no such file, it is no JSON, or something else than asked for.
    """
    try:
        plain = Plain(read_json(path.read_text(encoding="utf-8")), str(path))
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
    """sha256 of JSON data, whatever the order of its names and the blanks between them."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def record_text(kind: str, value: Mapping[str, Any]) -> str:
    """The text of a record; what JSON does not know is written as its text."""
    assert CHECKSUM not in value, "a record that was read is written again with its old checksum"
    # Once through JSON, so that what is checked is what a reader will see (a tuple is a list there).
    plain = json.loads(figure.dumps({"schema": SCHEMA, "kind": kind, **value}, default=str))
    return json.dumps({**plain, CHECKSUM: checksum_of(plain)}, indent=2, ensure_ascii=False) + "\n"


def write_record(path: Path, kind: str, value: Mapping[str, Any]) -> None:
    """Write `value` as a `kind`, for `read_record`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, record_text(kind, value))


def write_json(path: Path, plain: Any) -> None:
    """Write JSON; what JSON does not know is written as its text."""
    write_text(path, figure.dumps(plain, indent=2, ensure_ascii=False, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write all of it or nothing: a reader sees the old file or the new one, never a part."""
    # A name of its own: several processes of a sweep write the same report.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        # A path may hold bytes that are no UTF-8; they must not keep a record from being written.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
