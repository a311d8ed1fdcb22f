"""The run that a word names, and the directory in which its relative paths start."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosybuild.errors import ConfigurationError
from cosybuild.run.imported_run import Origin, write_mark
from cosybuild.run.recorded import all_runs, read_run
from cosybuild.run.run_names import RUNS
from tests.run.records import write_run


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make three runs below the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("alpha-1", "alpha-2", "beta", "beta.replay"):
        write_run(RUNS / name)


@pytest.mark.parametrize("word", [
    "outputs/runs/beta", "outputs/runs/beta/report.json", "beta", "outputs/runs/../runs/beta",
])  # fmt: skip
def test_a_run_can_be_named_by_directory_or_report_or_name(word: str) -> None:
    assert read_run(word).directory.resolve() == (RUNS / "beta").resolve()


def test_the_start_of_a_name_is_enough_if_it_is_the_only_one() -> None:
    assert read_run("beta.r").directory == RUNS / "beta.replay"
    with pytest.raises(ConfigurationError) as raised:
        read_run("alpha")
    assert raised.value.message == "'alpha' could be any of 2 runs: alpha-1, alpha-2."


@pytest.mark.parametrize(("word", "near"), [("alpha1", "alpha-1"), ("zzz", "alpha-1, alpha-2, beta")])
def test_an_unknown_name_is_reported_with_the_known_ones(word: str, near: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read_run(word)
    assert raised.value.message == f"There is no run '{word}': neither a directory nor a name under outputs/runs."
    assert raised.value.hint is not None
    assert near in raised.value.hint


def test_without_runs_the_next_command_is_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(ConfigurationError) as raised:
        read_run("alpha-1")
    assert raised.value.hint == "Next: run `python -m cosybuild`."


def test_all_runs_are_read_in_the_order_of_their_names() -> None:
    assert [run.directory.name for run in all_runs()] == ["alpha-1", "alpha-2", "beta", "beta.replay"]


def test_a_damaged_report_is_refused() -> None:
    path = RUNS / "beta" / "report.json"
    path.write_text(path.read_text().replace('"ok"', '"no"'))
    with pytest.raises(ConfigurationError, match="does not match its checksum"):
        read_run("beta")


def test_relative_paths_of_a_moved_run_start_at_its_new_place(tmp_path: Path) -> None:
    assert read_run("beta").home == tmp_path
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "outputs").rename(tmp_path / "elsewhere" / "outputs")
    assert read_run("elsewhere/outputs/runs/beta").home == tmp_path / "elsewhere"


def test_relative_paths_of_a_run_outside_outputs_start_where_it_was_made(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    write_run(tmp_path / "there", working_directory=str(tmp_path / "made"))
    assert read_run("there").home == tmp_path / "made"
    (tmp_path / "made").rmdir()
    assert read_run("there").home == tmp_path


def test_the_record_of_another_machine_gives_the_current_directory(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    run = write_run(tmp_path / "there", working_directory=str(tmp_path / "made"))
    write_mark(run, Origin("a.tar.gz", "a" * 64, 0.0, results=False))
    found = read_run("there")
    assert found.origin == Origin("a.tar.gz", "a" * 64, 0.0, results=False)
    assert found.home == tmp_path
