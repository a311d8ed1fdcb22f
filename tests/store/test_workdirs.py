"""The working directories of ended and running processes, and their removal."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cosybuild.errors import StoreError
from cosybuild.store import workdirs as module
from cosybuild.store.workdirs import LEFTOVER_SECONDS, Workdirs
from cosybuild.system.owner import Heartbeat, Owner


@pytest.fixture
def workdirs(tmp_path: Path) -> Workdirs:
    return Workdirs(tmp_path / "tmp", Heartbeat())


def living() -> Owner:
    return Owner.of_this_process()


def dead() -> Owner:
    return replace(living(), start="1")


def elsewhere() -> Owner:
    return replace(living(), host="elsewhere")


def leave(workdirs: Workdirs, name: str, owner: Owner, *, age: float = 0.0, content: bytes | None = None) -> Path:
    """Make a working directory as another process would have left it."""
    home = workdirs.path / f"{name}-{owner.token}"
    (home / "work").mkdir(parents=True)
    record = home / owner.token
    record.write_bytes(owner.encode() if content is None else content)
    for path in (record, home):
        os.utime(path, (time.time() - age, time.time() - age))
    return home


def left(workdirs: Workdirs) -> set[str]:
    """Return the names of the files without tokens."""
    return {path.name.rpartition("-")[0] for path in workdirs.path.iterdir()}


def test_only_working_directories_of_dead_processes_are_removed(workdirs: Workdirs) -> None:
    old = LEFTOVER_SECONDS + 100
    for number in range(3):
        leave(workdirs, f"dead-{number}", dead())
        leave(workdirs, f"living-{number}", living(), age=old)
        leave(workdirs, f"elsewhere-{number}", elsewhere(), age=LEFTOVER_SECONDS - 100)
        leave(workdirs, f"elsewhere-old-{number}", elsewhere(), age=old)
        leave(workdirs, f"damaged-{number}", living(), content=b"{}", age=LEFTOVER_SECONDS - 100)
        leave(workdirs, f"damaged-old-{number}", living(), content=b"{}", age=old)
    workdirs.sweep()
    assert left(workdirs) == {f"{who}-{number}" for who in ("living", "elsewhere", "damaged") for number in range(3)}


def test_a_process_sweeps_once_unless_it_is_requested_again(workdirs: Workdirs) -> None:
    workdirs.sweep()  # the directory does not exist yet
    leave(workdirs, "dead", dead())
    workdirs.sweep()
    assert left(workdirs) == {"dead"}
    with workdirs.new("export"):
        assert left(workdirs) == {"dead", "export"}
        workdirs.sweep(always=True)
        assert left(workdirs) == {"export"}


def test_a_directory_that_another_process_removes_first_does_not_stop_the_sweep(
    workdirs: Workdirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        leave(workdirs, f"dead-{number}", dead())
    judged = module._is_left_over
    gone: list[Path] = []

    def judge(entry: Path, now: float) -> bool:
        if not gone:
            gone.append(entry)
            shutil.rmtree(entry)
        return judged(entry, now)

    monkeypatch.setattr(module, "_is_left_over", judge)
    workdirs.sweep()
    assert left(workdirs) == set()


def test_the_oldest_work_is_found_even_if_another_ends_meanwhile(
    workdirs: Workdirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert workdirs.oldest() is None
    ages = {"export": 500.0, "engine": 9000.0, "verify": 100.0}
    homes = {name: leave(workdirs, name, living(), age=age) for name, age in ages.items()}
    leave(workdirs, "lock", living(), age=99_999.0).joinpath("work").rmdir()  # a claim without a working directory
    assert workdirs.oldest() == homes["engine"].stat().st_mtime
    engine = homes["engine"].stat().st_mtime

    def is_dir(path: Path) -> bool:
        found = os.path.isdir(path)  # noqa: PTH112 - Path's own is what this stands for
        if path.parent != homes["engine"]:
            shutil.rmtree(path.parent)  # the process ends during the check
        return found

    monkeypatch.setattr(Path, "is_dir", is_dir)
    assert workdirs.oldest() == engine


@pytest.mark.parametrize(("blocks", "is_full"), [(0, True), (15, True), (16, False), (10_000, False)])
def test_an_error_of_a_library_names_the_disk_only_if_it_is_full(
    workdirs: Workdirs, monkeypatch: pytest.MonkeyPatch, blocks: int, is_full: bool
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=blocks, f_frsize=4096))
    with pytest.raises(StoreError if is_full else RuntimeError, match="writer failed"), workdirs.new("export"):
        raise RuntimeError("writer failed")
    assert left(workdirs) == set()


def test_an_error_is_unchanged_if_the_disk_cannot_be_checked(
    workdirs: Workdirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError("not here")

    monkeypatch.setattr(os, "statvfs", refuse)
    with pytest.raises(RuntimeError, match="writer failed"), workdirs.new("export"):
        raise RuntimeError("writer failed")


@pytest.mark.parametrize("name", ["export", "x" * 300])
def test_a_working_directory_has_the_name_of_its_step_and_is_removed_with_it(workdirs: Workdirs, name: str) -> None:
    with workdirs.new(name) as directory:
        assert list(directory.iterdir()) == []
        assert left(workdirs) == {name[:40]}
        (directory / "half").write_bytes(b"half")
    assert left(workdirs) == set()
