"""The lock on a run directory: it makes the directory, and removes unfinished files of killed processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosybuild.run.directory_lock import CLAIM, hold_run_lock
from cosybuild.system.files import replacing
from tests.building.fakes import in_thread


def test_the_directory_is_made_and_the_lock_names_its_holder(tmp_path: Path) -> None:
    run = tmp_path / "outputs" / "runs" / "a"
    with hold_run_lock(run, pytest.fail) as waited:
        assert not waited
        assert (run / CLAIM).read_text().startswith("process ")


def test_only_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # A kill leaves this file, neither renamed nor removed.
        patch.setattr(Path, "replace", lambda self, target: None)
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
        with replacing(tmp_path / "report.json", durable=False) as file:
            file.write(b"half")
    for name in ("report.md", "mine.part", ".hydra"):
        (tmp_path / name).write_text("whole")
    assert len(list(tmp_path.iterdir())) == 4
    with hold_run_lock(tmp_path, pytest.fail):
        assert {path.name for path in tmp_path.iterdir()} == {CLAIM, "report.md", "mine.part", ".hydra"}


def test_the_second_process_waits_and_is_reported(tmp_path: Path) -> None:
    told: list[str] = []
    with hold_run_lock(tmp_path, pytest.fail):

        def wait() -> None:
            with hold_run_lock(tmp_path, told.append) as waited:
                told.append(f"waited: {waited}")

        thread = in_thread(wait)
        while not told:
            pass
        assert len(told) == 1
    thread.join(60)
    assert told[1:] == ["waited: True"]
