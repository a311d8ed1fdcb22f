"""A fresh working directory for each scenario."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.scenarios.commands import Place
from tests.scenarios.rebuilding import Project, prepared


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Models this small only lose by threads, and by waiting for each other's on a busy machine a great deal."""
    torch.set_num_threads(1)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="session")
def prepared_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Everything is built there; tests that change something take `project`."""
    return prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def project(prepared_project: Project, tmp_path: Path) -> Project:
    """A copy of it to change."""
    return prepared_project.copy(tmp_path / "project")
