"""Fixtures: a new working directory for each scenario."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cosybuild.__main__ import main
from tests.scenarios.commands import QUICK, Answer, Place
from tests.scenarios.rebuilding import Project, make_small_model, prepared


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Use one thread, because threads slow down models as small as these, above all on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="session")
def prepared_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project in which everything is built; tests that change something use `project`."""
    return prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def project(prepared_project: Project, tmp_path: Path) -> Project:
    """Return a copy that the test may change."""
    return prepared_project.copy(tmp_path / "project")


@pytest.fixture(scope="session")
def built_place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a working directory in which a command has built `model/`; tests use `used_place`."""
    place = Place(tmp_path_factory.mktemp("built"))
    make_small_model(place.directory / "model")
    place.last = place.cosybuild(*QUICK)
    return place


@pytest.fixture
def used_place(built_place: Place, tmp_path: Path) -> Place:
    """Return a copy that the test may change."""
    shutil.copytree(built_place.directory, tmp_path / "used")
    return Place(tmp_path / "used")


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """Return a function that runs a command line in an empty directory."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "argv", sys.argv)

    def run(*words: str) -> Answer:
        code = main(words)
        printed = capsys.readouterr()
        return Answer(code, printed.out, printed.err, here)

    return run
