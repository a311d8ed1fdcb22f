"""Errors of the system that a user can correct."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from cosybuild.cli.failure import run_guarded
from cosybuild.errors import DEFECT
from cosybuild.system.files import write_text
from tests.modes import bound_by_modes


def test_a_file_without_permission_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "report.json"
    path.touch(mode=0)
    with bound_by_modes():
        assert run_guarded(lambda: len(path.read_bytes())) == 7
    told = capsys.readouterr().err
    assert f"store error: Cannot read or write {path}: permission denied." in told
    assert "Next: correct its mode or owner" in told


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST])
def test_an_error_of_the_run_directory_does_not_name_the_store(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    def write() -> int:
        raise OSError(number, "no", "outputs/runs/x/report.json")

    assert run_guarded(write) == 7
    told = capsys.readouterr().err
    assert told.startswith("store error: Cannot read or write outputs/runs/x/report.json: ")
    assert "store.path" not in told
    assert "gc" not in told
    assert "defect" not in told


@pytest.mark.parametrize("create", [lambda path: path.mkdir(), lambda path: write_text(path / "report.md", "text")])
def test_a_place_that_takes_no_files_is_explained(
    create: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    def write() -> int:
        create(Path("/proc/x") if create.__code__.co_names == ("mkdir",) else Path("/proc"))
        return 0

    assert run_guarded(write) == 7
    told = capsys.readouterr().err
    assert "store error: Cannot create a file or directory in /proc: No such file or directory." in told
    assert "Next: give a directory that exists" in told


def test_a_missing_file_that_is_read_is_a_defect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_guarded(lambda: len((tmp_path / "x").read_bytes())) == DEFECT
    assert "defect" in capsys.readouterr().err
