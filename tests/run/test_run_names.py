"""The search for a run by `last`, or by the start or a part of its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosybuild.errors import ConfigurationError
from cosybuild.run.run_names import RUNS, find_run, newest, newest_first
from tests.run.records import write_run


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make four runs below the working directory; the order of their times is not that of their names."""
    monkeypatch.chdir(tmp_path)
    for started, name in enumerate(["Alpha-fp16-9c", "beta-fp32-1a", "Beta.replay", "alpha-fp32-77"]):
        write_run(RUNS / name, started=float(started))


def test_last_is_the_run_that_started_last() -> None:
    assert find_run("last") == RUNS / "alpha-fp32-77"
    assert [path.name for path in newest(2)] == ["alpha-fp32-77", "Beta.replay"]


@pytest.mark.parametrize(("word", "name"), [
    ("ALPHA-FP16", "Alpha-fp16-9c"), ("beta.replay", "Beta.replay"), ("1a", "beta-fp32-1a"), ("FP16", "Alpha-fp16-9c"),
])  # fmt: skip
def test_a_part_of_a_name_in_any_case_is_enough(word: str, name: str) -> None:
    assert find_run(word) == RUNS / name


def test_a_start_of_a_name_precedes_another_part_of_it() -> None:
    write_run(RUNS / "fp16-model", started=9.0)
    assert find_run("fp16") == RUNS / "fp16-model"


def test_several_matches_are_listed() -> None:
    with pytest.raises(ConfigurationError, match="'alpha' could be any of 2 runs: Alpha-fp16-9c, alpha-fp32-77"):
        find_run("alpha")


def test_a_run_or_directory_called_last_is_that_run(tmp_path: Path) -> None:
    write_run(RUNS / "last", started=-1.0)
    assert find_run("last") == RUNS / "last"
    write_run(tmp_path / "last", started=-1.0)
    assert find_run("last") == Path("last")


def test_a_record_that_cannot_be_read_has_the_time_of_its_file() -> None:
    (RUNS / "beta-fp32-1a" / "report.json").write_text("{", encoding="utf-8")
    assert newest_first()[0] == RUNS / "beta-fp32-1a"


def test_fewer_runs_than_needed_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="outputs/runs has 4 runs, and the command needs 5"):
        newest(5)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(ConfigurationError, match="outputs/runs has no runs, and the command needs 1"):
        find_run("last")
