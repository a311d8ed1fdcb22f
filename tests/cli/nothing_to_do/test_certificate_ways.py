"""The paths of certified files: changed links and directories, and different clocks."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cosybuild.cli.nothing_to_do.certificate import check, examine, write
from cosybuild.cli.nothing_to_do.observed_state import Look
from tests.cli.nothing_to_do.certifying import ARGV, MESSAGE, Project, same_size_and_time


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


class Linked:
    """`up/models/current/flow.pt`, where `current` is a link to one of two directories."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.link = root / "up" / "models" / "current"
        for name in ("a", "b"):
            (root / "up" / "models" / name).mkdir(parents=True)
            (root / "up" / "models" / name / "flow.pt").write_bytes(b"x")
        self.link.symlink_to("a")
        Project.age()

    def turn(self, target: str) -> None:
        new = self.link.with_name("new")
        new.symlink_to(target)
        new.replace(self.link)

    def move(self) -> None:
        (self.root / "up").rename(self.root / "gone")
        shutil.copytree(self.root / "gone", self.root / "up", symlinks=True)

    def look(self) -> Look:
        return Look([self.link / "flow.pt", self.link / ".." / "b" / "flow.pt"])


MOVES: dict[str, Callable[[Linked], object]] = {
    "a link turned": lambda linked: linked.turn("b"),
    "a link turned and turned back": lambda linked: (linked.turn("b"), linked.turn("a")),
    "a link to the same by another name": lambda linked: linked.turn(str(linked.link.with_name("a"))),
    "a directory above moved": lambda linked: linked.move(),
    "a directory above a link": lambda linked: (
        (linked.root / "up").rename(linked.root / "gone"),
        (linked.root / "up").symlink_to("gone"),
    ),
}


@pytest.mark.attack("stale", "no certificate")
@pytest.mark.parametrize("how", MOVES)
def test_a_path_that_changes_prevents_or_invalidates_the_certificate(project: Project, how: str) -> None:
    linked = Linked(project.conf.parent)
    look = linked.look()
    assert write(project.certificates, ARGV, MESSAGE, [look]) is None
    assert check(project.certificates, ARGV) == MESSAGE
    MOVES[how](linked)
    assert check(project.certificates, ARGV) is None
    reason = write(project.certificates, ARGV, MESSAGE, [look])
    assert reason is not None
    assert reason.endswith("changed during the run")


@pytest.mark.attack("stale", "no certificate")
@pytest.mark.parametrize("seconds", [-60, 0, 60, 86400])
def test_the_clock_of_the_host_has_no_effect(project: Project, monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + seconds * 10**9)
    monkeypatch.setattr(time, "time", lambda: real() / 1e9 + seconds)
    assert project.run(lambda: same_size_and_time(project.weights)) is not None
    project.weights.write_bytes(b"v" * 8)  # within a tick before the run
    assert project.run() == f"{project.weights} changed during the run"
    Project.age()
    assert project.run() is None
    assert check(project.certificates, ARGV) == MESSAGE


def test_broken_links_are_certified_as_absent(project: Project) -> None:
    loop, nowhere = project.conf.parent / "loop", project.conf.parent / "nowhere"
    loop.symlink_to("loop")
    nowhere.symlink_to("/no/such/place")
    Project.age()
    assert write(project.certificates, ARGV, MESSAGE, [Look([loop, nowhere / "flow.pt"])]) is None
    assert check(project.certificates, ARGV) == MESSAGE
    nowhere.unlink()
    assert check(project.certificates, ARGV) is None


@pytest.mark.attack("stale", "no certificate")
def test_another_import_path_is_detected(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert project.run() is None
    monkeypatch.setattr(sys, "path", [str(project.conf), *sys.path])
    assert examine(project.certificates, ARGV)[1] == "the interpreter changed"
