"""A power cut at any moment of a deployment or a rollback leaves the complete old state or the complete new state."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cosybuild.config.groups.deploy import DeploySettings, Service
from cosybuild.deploy import journal, staging, transaction
from cosybuild.deploy.deploy import deploy
from cosybuild.deploy.rollback import rollback
from cosybuild.directory_in_service import view_of
from cosybuild.system.environment import Environment
from tests.deploy.delivering import answer_of, put_estimator, tree
from tests.powerloss import Disk, in_memory, recorded, restored

STEM = "flow.decoder.estimator"
FULL, STREAMING = f"{STEM}.fp32.onnx", f"{STEM}.streaming.fp32.onnx"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="directories are synced there")


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Return a directory in memory if there is one, because thousands of small files are written."""
    with in_memory(tmp_path) as directory:
        yield directory


def put_in_service(tmp_path: Path, answer: float, *, beside: bool = False, streaming: bool = False) -> None:
    folder = tmp_path / f"run{answer:g}{streaming}"
    if not folder.exists():
        folder.mkdir()
        put_estimator(folder / (STREAMING if streaming else FULL), answer, beside=beside, streaming=streaming)
    settings = DeploySettings(service=Service.bundle, dir=str(tmp_path / "service"), keep_backups=1)
    deploy(folder, settings, Environment(gpu_list=()))


def answers(root: Path) -> dict[str, bytes]:
    """Return the files that a reader of the directory finds without any repair."""
    return {name: path.read_bytes() for name, path in view_of(root).files().items()}


def hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: Callable[[], object], then: Callable[[Path], object]
) -> int:
    """Cut the power at every moment of `body`, call `then` in each directory that is left; return their number."""
    service = tmp_path / "service"
    before = tree(service)
    found, at_the_end = recorded(service, body)
    after = tree(service)
    assert before != after
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # no more power cuts from here on
    seen = set()
    for number, disk in enumerate(found):
        root = restored(disk, tmp_path / f"disk{number}")
        seen.add(_is_whole(root, disk, before, after, must_be_new=disk in at_the_end))
        if number % 10 == 0:  # fsync takes longer than everything else
            then(root)
        shutil.rmtree(root)
    assert seen == {"old", "new"}
    return len(found)


def _is_whole(root: Path, disk: Disk, before: object, after: object, *, must_be_new: bool) -> str:
    found = answers(root)
    assert found in (before, after), [name for name, _ in disk]
    transaction.recover(root)
    assert tree(root) == found
    assert not must_be_new or found == after
    return "new" if found == after else "old"


@pytest.mark.attack("interrupt", "the old or the new state")
def test_a_power_cut_during_a_deployment_leaves_the_old_or_the_new_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_service(tmp_path, 1, streaming=True)
    put_in_service(tmp_path, 1, beside=True)
    old = tree(tmp_path / "service")

    def then(root: Path) -> None:
        # The next deployment succeeds, and one rollback undoes it.
        if answer_of(root / FULL) == 2:
            rollback(root)
            assert tree(root) == old

    assert hold(tmp_path, monkeypatch, lambda: put_in_service(tmp_path, 2, beside=True), then) > 50


@pytest.mark.attack("interrupt", "the old or the new state")
def test_a_power_cut_during_the_first_deployment_leaves_nothing_or_the_new_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "service").mkdir()
    assert hold(tmp_path, monkeypatch, lambda: put_in_service(tmp_path, 1), lambda root: None) > 20


@pytest.mark.attack("interrupt", "the old or the new state")
def test_a_power_cut_during_a_rollback_leaves_the_old_or_the_new_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer in (1, 2):
        put_in_service(tmp_path, answer)
    assert hold(tmp_path, monkeypatch, lambda: rollback(tmp_path / "service"), lambda root: None) > 30


@pytest.mark.attack("interrupt", "the old or the new state")
def test_a_power_cut_during_recovery_leaves_the_old_or_the_new_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_service(tmp_path, 1)
    service = tmp_path / "service"
    with monkeypatch.context() as patch:
        patch.setattr(transaction, "apply", lambda root, journal: None)
        put_in_service(tmp_path, 2)
    old = answers(service)
    found, _ = recorded(service, lambda: transaction.recover(service))
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    for number, disk in enumerate(found):
        root = restored(disk, tmp_path / f"disk{number}")
        assert answers(root) == old
        transaction.recover(root)
        assert tree(root) == old
        shutil.rmtree(root)


@pytest.mark.parametrize("name", ["sync_tree", "sync_directory"])
def test_without_any_one_of_the_syncs_a_power_cut_can_leave_neither_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    put_in_service(tmp_path, 1)
    for module in (journal, transaction, staging):
        monkeypatch.setattr(module, name, lambda path: None, raising=False)
    service = tmp_path / "service"
    before = tree(service)
    found, _ = recorded(service, lambda: put_in_service(tmp_path, 2))
    after = tree(service)
    roots = (restored(disk, tmp_path / f"disk{number}") for number, disk in enumerate(found))
    assert any(answers(root) not in (before, after) for root in roots)
