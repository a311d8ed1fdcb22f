"""JSON in, JSON out: what is there is what was written, and what is not is named with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cosybuild.errors import ConfigurationError
from cosybuild.system.json_records import JsonReader, read_record, record_text, write_json, write_record, write_text

AGAIN = "Next: run the build again; it writes a new record"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(7, "7"), ("x" * 78, repr("x" * 78)), ("x" * 79, f"{repr('x' * 79)[:80]}…"), (["x" * 500], f"['{'x' * 78}…")],
)
def test_a_wrong_value_is_named_with_its_place_and_shown_as_far_as_is_needed(value: object, shown: str) -> None:
    plain = JsonReader({"steps": [{}, {"log": value}]}, "outcome.json")
    with pytest.raises(ConfigurationError) as caught:
        list(plain.objects("steps"))[1].object("log")
    assert caught.value.message == f"outcome.json.steps[1].log should be an object and is {shown}."
    assert caught.value.hint == AGAIN


def test_a_list_that_is_not_all_text_is_shown() -> None:
    with pytest.raises(ConfigurationError, match=r"run\.waits should be a list of text and is \['graph', 1\]"):
        JsonReader({"waits": ["graph", 1]}, "run").texts("waits")


def test_values_are_what_they_are_asked_for() -> None:
    plain = JsonReader(
        {"seconds": 2, "size": 1.5, "count": 3, "none": None, "name": "x", "of": {"a": {}, "b": {}}}, "run"
    )
    assert (plain.number("seconds"), type(plain.number("seconds"))) == (2.0, float)
    assert plain.optional_object("none") is None
    found = plain.optional_object("of")
    assert found is not None
    assert [(name, item.where) for name, item in found.items()] == [("a", "run.of.a"), ("b", "run.of.b")]
    assert JsonReader({"a": "1", "b": "2"}, "run").text_items() == {"a": "1", "b": "2"}
    assert plain.raw()["name"] == plain.text("name") == "x"
    for name in ("name", "none", "size"):
        with pytest.raises(ConfigurationError, match=rf"run\.{name} should be int"):
            plain.get(name, int)


def test_a_truth_is_no_number() -> None:
    plain = JsonReader({"done": True}, "run")
    assert plain.get("done", bool) is True
    assert plain.get("done", (bool, str)) is True
    with pytest.raises(ConfigurationError, match=r"run\.done should be int or float and is True"):
        plain.number("done")


def test_a_record_is_written_for_people_too_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "new" / "plan.json"
    write_record(path, "plan", {"where": Path("/a"), "who": "Jürgen", "shape": (2, 80)})
    assert "Jürgen" in path.read_text(encoding="utf-8")
    assert path.read_text(encoding="utf-8").endswith("}\n")
    plain = read_record(path, "plan")
    assert (plain.text("where"), plain.text("who"), plain.get("shape", list)) == ("/a", "Jürgen", [2, 80])
    assert plain.where == str(path)
    with pytest.raises(AssertionError, match="old checksum"):
        record_text("plan", plain.raw())


def test_a_record_of_another_kind_or_place_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(ConfigurationError, match=r"plan\.json cannot be read as the plan of a run: ") as caught:
        read_record(path, "plan")
    assert caught.value.hint == "Next: name a run directory, e.g. one under outputs/runs"
    write_record(path, "report", {})
    with pytest.raises(
        ConfigurationError, match=r"plan\.json holds kind 'report', schema 1; expected kind 'plan'"
    ) as caught:
        read_record(path, "plan")
    assert caught.value.hint == "Next: read it with the cosybuild that wrote it, or run the build again"


def test_a_record_with_a_flipped_byte_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_record(path, "plan", {"opset": 18})
    path.write_text(path.read_text().replace("18", "19"))
    with pytest.raises(ConfigurationError, match=r"plan\.json is damaged") as caught:
        read_record(path, "plan")
    assert caught.value.hint == AGAIN
    del (plain := json.loads(path.read_text()))["checksum"]
    path.write_text(json.dumps(plain))
    with pytest.raises(ConfigurationError, match=r"plan\.json is damaged"):
        read_record(path, "plan")


def test_other_json_is_written_for_people_too(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"where": Path("/a"), "who": "Jürgen"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == '{\n  "where": "/a",\n  "who": "Jürgen"\n}\n'


def test_a_text_is_written_whatever_bytes_a_path_had_or_not_at_all(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "before")
    write_text(tmp_path / "a", "caf\udce9 店")
    assert (tmp_path / "a").read_bytes() == "caf\\udce9 店".encode()
    (tmp_path / "directory").mkdir()
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "directory", "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "directory"]
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "absent" / "a", "text")
