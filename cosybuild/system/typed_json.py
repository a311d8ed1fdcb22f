"""Conversion of plain JSON data to typed values and back; msgspec checks and converts, errors name the field.

msgspec is strict: text is no number, and true is no number either. Fields that a type does not have are ignored, so
that a record of a later version can be read. `read_json` must have parsed data that is not trusted.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from cosybuild.errors import ConfigurationError

T = TypeVar("T")
Way = tuple[str | int, ...]
"""The names and indices that lead from a document to a value in it."""

RECORD_HINT = "Next: run the build again; it writes a new record"

_STEP = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")
_LACKING = re.compile(r"Object missing required field `(\w+)`")
_UNEXPECTED = re.compile(r"Expected `[^`]*`(.*?)(?:, got `[^`]*`)?", re.DOTALL)
_WORDS: dict[type[inspect.Type], str] = {
    inspect.StrType: "text",
    inspect.IntType: "a whole number",
    inspect.FloatType: "a number",
    inspect.BoolType: "true or false",
    inspect.NoneType: "null",
    inspect.ListType: "a list",
    inspect.VarTupleType: "a list",
    inspect.TupleType: "a list",
    inspect.DictType: "an object",
    inspect.DataclassType: "an object",
    inspect.StructType: "an object",
}


def from_json(plain: Any, kind: type[T], where: str, hint: str = RECORD_HINT) -> T:
    """Return plain JSON data as a value of a dataclass, a msgspec structure or another type.

    A type may refuse a value with a ValueError in `__post_init__`, whose message continues "FIELD ...".

    Args:
        where: the path of the data for errors, e.g. `report.json`; empty for paths that begin with a field.
        hint: the next command, for errors.

    Raises:
        ConfigurationError: a field is missing or has another type; the message has its path, such as
            `report.json.steps[2].key`, its value and what is expected.
    """
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        fault = _Fault(plain, kind, str(error))
    raise ConfigurationError(fault.tell(where), hint=hint)


def wrong(where: str, expected: str, found: Any, hint: str = RECORD_HINT) -> ConfigurationError:
    """Return the error for a value at a path that is not what was expected."""
    return ConfigurationError(wrong_text(where, expected, found), hint=hint)


def wrong_text(where: str, expected: str, found: Any) -> str:
    """Return the message of `wrong`, with the beginning of a long value."""
    text = repr(found)
    return f"{where} should be {expected} and is {text if len(text) <= 80 else f'{text[:80]}…'}."


def to_json(value: Any) -> Any:
    """Return dataclasses and msgspec structures as plain JSON data, at any depth; `from_json` is the inverse.

    Numbers and arrays of numpy become Python's. Values that JSON does not know, such as paths, stay.
    """
    # Not msgspec.to_builtins: it leaves out fields with defaults of dataclasses that msgspec.convert made.
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, msgspec.Struct):
        tag = {str(value.__struct_config__.tag_field): value.__struct_config__.tag}
        return tag | {name: to_json(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {name: to_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(inner) for inner in value]
    if isinstance(value, Enum):
        return value.value
    return value.tolist() if hasattr(value, "tolist") else value


class _Fault:
    """The error of msgspec, with the path of the value; msgspec omits the names in objects that accept any name."""

    def __init__(self, plain: Any, kind: type, text: str) -> None:
        self._text = text
        message, _, place = text.rpartition(" - at `")
        self._message = message or text
        self._way: Way = ()
        types = [inspect.type_info(kind)]
        for name, index in _STEP.findall(place if message else ""):
            step = self._failing_name(plain, kind) if index == "..." else int(index) if index else name
            self._way += (step,)
            types = [part for one in types for part in _parts(one, step)]
        self._types, self._value = types, _at(plain, self._way)

    def tell(self, where: str) -> str:
        """Return the error as a sentence that begins with the path, e.g. `report.json.steps[2].key`."""
        where += "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self._way)
        where = where.lstrip(".") or "the whole"
        if lacking := _LACKING.fullmatch(self._message):
            return f"{where}.{lacking[1]} is missing."
        constraint = _UNEXPECTED.fullmatch(self._message)
        if constraint is None and not self._message.startswith("Invalid "):
            return f"{where} {self._message}."  # of a type's own check
        return wrong_text(where, f"{_expected(self._types)}{constraint[1] if constraint else ''}", self._value)

    def _failing_name(self, plain: Any, kind: type) -> str:
        """Return the name in the object at the present path whose value is the wrong one, found by halving."""
        names: list[str] = list(found := _at(plain, self._way))
        while len(names) > 1:
            half = names[: len(names) // 2]
            fails = self._fails(_replaced(plain, self._way, {name: found[name] for name in half}), kind)
            names = half if fails else names[len(half) :]
        return names[0]

    def _fails(self, plain: Any, kind: type) -> bool:
        try:
            msgspec.convert(plain, kind)
        except msgspec.ValidationError as error:
            return str(error) == self._text
        return False


def _at(value: Any, way: Way) -> Any:
    for step in way:
        value = value[step]
    return value


def _replaced(value: Any, way: Way, new: Any) -> Any:
    if not way:
        return new
    copy = value.copy()
    copy[way[0]] = _replaced(value[way[0]], way[1:], new)
    return copy


def _parts(one: inspect.Type, step: str | int) -> Iterator[inspect.Type]:
    """Yield the types that a part of a value of this type may have."""
    if isinstance(one, inspect.UnionType):
        for option in one.types:
            yield from _parts(option, step)
    elif isinstance(one, inspect.DataclassType | inspect.StructType):
        yield from (field.type for field in one.fields if field.encode_name == step)
        if isinstance(one, inspect.StructType) and one.tag_field == step:
            yield inspect.LiteralType((one.tag,))
    elif isinstance(one, inspect.DictType):
        yield one.value_type
    elif isinstance(one, inspect.ListType | inspect.VarTupleType):
        yield one.item_type
    elif isinstance(one, inspect.TupleType) and isinstance(step, int):
        yield one.item_types[step]


def _expected(types: Iterable[inspect.Type]) -> str:
    """Return what a value of one of these types is, in words."""
    options = [part for one in types for part in (one.types if isinstance(one, inspect.UnionType) else [one])]
    values = [str(value) for one in options for value in _values(one)]
    named = [f"one of {', '.join(values)}" if len(values) > 1 else values[0]] if values else []
    return " or ".join(dict.fromkeys([*named, *(_WORDS[type(one)] for one in options if type(one) in _WORDS)]))


def _values(one: inspect.Type) -> Iterable[Any]:
    if isinstance(one, inspect.EnumType):
        return (member.value for member in one.cls)
    return one.values if isinstance(one, inspect.LiteralType) else ()
