"""Typed values are the same after JSON and back, and an error names the path of the field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from msgspec import Meta, Struct

from cosybuild.errors import ConfigurationError
from cosybuild.system.typed_json import from_json, to_json


class Colour(str, Enum):
    red = "red"
    blue = "blue"


class Known(Struct, frozen=True, tag_field="is", tag="known"):
    size: Annotated[int, Meta(ge=0)]


class Open(Struct, frozen=True, tag_field="is", tag="open"):
    pass


OPEN = Open()


@dataclass(frozen=True)
class Part:
    name: str
    state: Known | Open = OPEN
    weight: float | None = None
    colour: Colour = Colour.red

    def __post_init__(self) -> None:
        if self.name == "..":
            raise ValueError("names another directory")


@dataclass(frozen=True)
class Document:
    parts: tuple[Part, ...] = ()
    named: Mapping[str, Part] = field(default_factory=dict)
    lists: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)
    done: bool | Literal["nearly"] = False
    facts: Mapping[str, Any] = field(default_factory=dict)


def test_a_value_is_equal_after_conversion_to_json_and_back() -> None:
    document = Document(
        parts=(Part("a", Known(3), 1.5), Part("b", weight=2.0, colour=Colour.blue)),
        named={"c.d": Part("c")},
        lists={"x": {"y": (1, 2)}},
        done=True,
        facts={"any": [1, {"thing": None}]},
    )
    plain = to_json(document)
    assert type(plain["parts"]) is list
    assert plain["parts"][0] == {"name": "a", "state": {"is": "known", "size": 3}, "weight": 1.5, "colour": "red"}
    assert from_json(plain, Document, "x") == document


def test_numbers_of_numpy_and_other_mappings_become_plain() -> None:
    plain = to_json({"a": np.float32(0.5), "b": [np.int64(3), np.bool_(True)], "d": np.arange(2)})
    assert plain == {"a": 0.5, "b": [3, True], "d": [0, 1]}
    assert type(plain["a"]) is float
    assert to_json(MappingProxyType({"x": Counter("y")})) == {"x": {"y": 1}}


def test_fields_that_were_not_given_are_written_too() -> None:
    plain = to_json(from_json({"name": "a"}, Part, "x"))
    assert plain == {"name": "a", "state": {"is": "open"}, "weight": None, "colour": "red"}


def test_a_whole_number_is_a_number_and_an_unknown_field_is_ignored() -> None:
    part = from_json({"name": "a", "weight": 2, "of a later version": 1}, Part, "x")
    assert (part.weight, type(part.weight)) == (2.0, float)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ([], "r.json should be an object and is []."),
        ({"parts": {}}, "r.json.parts should be a list and is {}."),
        ({"parts": [{"name": "a"}, 7]}, "r.json.parts[1] should be an object and is 7."),
        ({"parts": [{"name": "a"}, {}]}, "r.json.parts[1].name is missing."),
        ({"parts": [{"name": None}]}, "r.json.parts[0].name should be text and is None."),
        ({"parts": [{"name": "a", "weight": True}]}, "r.json.parts[0].weight should be a number or null and is True."),
        ({"parts": [{"name": "a", "weight": "1"}]}, "r.json.parts[0].weight should be a number or null and is '1'."),
        ({"parts": [{"name": "a", "state": {}}]}, "r.json.parts[0].state.is is missing."),
        (
            {"parts": [{"name": "a", "state": {"is": "lost"}}]},
            "r.json.parts[0].state.is should be one of known, open and is 'lost'.",
        ),
        (
            {"parts": [{"name": "a", "state": {"is": "known", "size": -1}}]},
            "r.json.parts[0].state.size should be a whole number >= 0 and is -1.",
        ),
        (
            {"parts": [{"name": "a", "colour": "grey"}]},
            "r.json.parts[0].colour should be one of red, blue and is 'grey'.",
        ),
        (
            {"parts": [{"name": "a", "colour": "grey - at `$.x`"}]},
            "r.json.parts[0].colour should be one of red, blue and is 'grey - at `$.x`'.",
        ),
        ({"done": 1}, "r.json.done should be true or false or text and is 1."),
        ({"named": {"a": {"name": "a"}, "b.c": {"name": ".."}}}, "r.json.named.b.c names another directory."),
        (
            {"lists": {"a": {"x": [1], "y": [2]}, "b": {"z": [3], "x": [4, 5.5]}, "c": {}}},
            "r.json.lists.b.x[1] should be a whole number and is 5.5.",
        ),
        ({"facts": "x" * 79}, f"r.json.facts should be an object and is '{'x' * 79}…."),
    ],
)
def test_an_error_names_the_field_and_shows_its_value(plain: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_json(plain, Document, "r.json", "Next: write it again")
    assert caught.value.message == message
    assert caught.value.hint == "Next: write it again"


@pytest.mark.parametrize("count", [1, 2, 3, 8, 1000])
def test_the_wrong_value_among_many_names_is_found(count: int) -> None:
    for wrong in {0, 1, count // 2, count - 1} & set(range(count)):
        plain = {"lists": {f"n{index}": {"x": "no" if index == wrong else [index]} for index in range(count)}}
        with pytest.raises(ConfigurationError, match=rf"^r\.json\.lists\.n{wrong}\.x should be a list and is 'no'"):
            from_json(plain, Document, "r.json")
