"""The conversion of plain JSON data to typed values and back. msgspec converts, and errors name the wrong field.

msgspec is strict: it does not accept text or `true` as a number. Fields that a type does not have are ignored, so that
a record of a later version can be read. Parse data that is not trusted with `read_json` first.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from cosybuild.errors import ConfigurationError

T = TypeVar("T")
Way = tuple[str | int, ...]
"""The names and indices that lead from the root of a document to a value in it."""

RECORD_HINT = "Next: run the build again; it writes a new record"

_STEP = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")
_LACKING = re.compile(r"Object missing required field `(\w+)`")
_UNEXPECTED = re.compile(r"Expected `([^`]*)`(.*?)(?:, got `[^`]*`)?", re.DOTALL)
_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}


def from_json(plain: Any, kind: type[T], where: str, hint: str = RECORD_HINT) -> T:
    """Convert plain JSON data to a dataclass, a msgspec structure or another type.

    A type may refuse a value by raising ValueError in `__post_init__`. The error then states the path of the value
    before this message.

    Args:
        plain: the data.
        kind: the type.
        where: the path of the data for errors, e.g. `report.json`. If it is empty, the path in an error begins with a
            field.
        hint: the sentence that tells the user which command to run next, for errors.

    Raises:
        ConfigurationError: a field is missing or has another type. The message has its path, such as
            `report.json.steps[2].key`, its value and what is expected.
    """
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        message = _sentence_of(plain, kind, str(error), where)
    raise ConfigurationError(message, hint=hint)


def to_json(value: Any) -> Any:
    """Convert dataclasses, msgspec structures and enums to plain JSON data, at any depth; `from_json` is the inverse.

    Numbers and arrays of numpy become numbers and lists. Other values that JSON does not know, such as paths, are kept.
    """
    # msgspec.to_builtins is not used, because it leaves out fields with defaults of dataclasses that msgspec.convert
    # made.
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


def _sentence_of(plain: Any, kind: type, error: str, where: str) -> str:
    """Convert the text of a msgspec error to a sentence that begins with the path of the value."""
    message, _, place = error.rpartition(" - at `")
    way: Way = ()
    for name, index in _STEP.findall(place if message else ""):
        # msgspec omits the names in objects that accept any name.
        way += (_failing_name(plain, kind, error, way) if index == "..." else int(index) if index else name,)
    message = message or error
    where += "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in way)
    where = where.lstrip(".") or "the whole"
    if lacking := _LACKING.fullmatch(message):
        return f"{where}.{lacking[1]} is missing."
    if unexpected := _UNEXPECTED.fullmatch(message):
        expected = " or ".join(_WORDS.get(name, name) for name in unexpected[1].split(" | ")) + unexpected[2]
    elif message.startswith("Invalid "):
        expected = f"one of {', '.join(_values(inspect.type_info(kind), way))}"
    else:
        return f"{where} {message}."  # the message of a type's own check
    shown = repr(_at(plain, way))
    return f"{where} should be {expected} and is {shown if len(shown) <= 80 else f'{shown[:80]}…'}."


def _failing_name(plain: Any, kind: type, error: str, way: Way) -> str:
    """Return the name, in the object at the path `way`, whose value is wrong. It is found by binary search."""
    names: list[str] = list(found := _at(plain, way))
    while len(names) > 1:
        half = names[: len(names) // 2]
        try:
            msgspec.convert(_replaced(plain, way, {name: found[name] for name in half}), kind)
            fails = False
        except msgspec.ValidationError as other:
            fails = str(other) == error
        names = half if fails else names[len(half) :]
    return names[0]


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


def _values(one: Any, way: Way) -> Iterator[str]:
    """Yield the values that a type permits at the path `way`, if an enumeration or the tag of a structure is there."""
    if isinstance(one, inspect.UnionType):
        for option in one.types:
            yield from _values(option, way)
    elif not way:
        yield from (str(getattr(each, "value", each)) for each in getattr(one, "values", getattr(one, "cls", ())))
    elif hasattr(one, "fields"):
        for field in one.fields:
            if field.encode_name == way[0]:
                yield from _values(field.type, way[1:])
        if getattr(one, "tag_field", None) == way[0]:
            yield one.tag
    else:
        yield from _values(getattr(one, "value_type", getattr(one, "item_type", None)), way[1:])
