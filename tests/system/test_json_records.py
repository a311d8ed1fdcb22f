"""Records in JSON: a reader gets what was written, and an error names the place of a missing or wrong value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cosybuild.errors import ConfigurationError
from cosybuild.system.json_records import read_record, record_text, write_json, write_record

AGAIN = "Next: run the build again; it writes a new record"


def test_a_record_is_readable_for_people_and_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "new" / "plan.json"
    write_record(path, "plan", {"where": Path("/a"), "who": "Jürgen", "shape": (2, 80)})
    assert "Jürgen" in path.read_text(encoding="utf-8")
    assert path.read_text(encoding="utf-8").endswith("}\n")
    plain = read_record(path, "plan")
    assert (plain["where"], plain["who"], plain["shape"]) == ("/a", "Jürgen", [2, 80])
    with pytest.raises(AssertionError, match="old checksum"):
        record_text("plan", plain)


def test_a_record_of_another_kind_or_place_is_refused_with_the_next_command(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(ConfigurationError, match=r"plan\.json cannot be read as the plan of a run: ") as caught:
        read_record(path, "plan")
    assert caught.value.hint == "Next: name a run directory, e.g. one under outputs/runs"
    write_record(path, "report", {})
    with pytest.raises(
        ConfigurationError, match=r"plan\.json has kind 'report', schema 1; expected kind 'plan'"
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


def test_other_json_is_readable_for_people(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"where": Path("/a"), "who": "Jürgen"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == '{\n  "where": "/a",\n  "who": "Jürgen"\n}\n'
