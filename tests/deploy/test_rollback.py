"""Rollbacks: after interruptions, on a full disk, with missing files, and without old backups."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cosybuild.__main__ import main
from cosybuild.cli import check
from cosybuild.config.groups.deploy import DeploySettings, Service
from cosybuild.deploy import journal, transaction
from cosybuild.deploy.deploy import deploy
from cosybuild.deploy.rollback import backups, rollback
from cosybuild.directory_in_service import STATE, view_of
from cosybuild.errors import ArtifactRefused, DeployError
from cosybuild.runtime import load
from cosybuild.system.environment import Environment
from tests.deploy.delivering import answer_of, put_estimator, tree
from tests.mounting import fill, free_bytes, mounted

FULL = "flow.decoder.estimator.fp32.onnx"


class Killed(BaseException):
    """An exception in place of the end of the process; no code of cosybuild catches it."""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return a directory in service whose estimator returns 1."""
    put_in_service(tmp_path, 1)
    return tmp_path / "service"


def put_in_service(tmp_path: Path, answer: float, **more: int) -> dict[str, object]:
    folder = tmp_path / f"run{answer:g}"
    if not folder.exists():
        folder.mkdir()
        put_estimator(folder / FULL, answer)
    settings = DeploySettings(service=Service.bundle, dir=str(tmp_path / "service"), **more)
    return deploy(folder, settings, Environment(gpu_list=()))


def killed(monkeypatch: pytest.MonkeyPatch, where: str, body: Callable[[], object]) -> None:
    """Run `body`, and end it when it calls the function `where` of a change."""

    def end(*arguments: object, **named: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        for module in (journal, transaction):
            if hasattr(module, where):
                patch.setattr(module, where, end)
        with pytest.raises(Killed):
            body()


@pytest.mark.attack("interrupt", "the old or the new state")
@pytest.mark.parametrize("where", ["apply", "begin", "_back_up", "_put_in_place"])
def test_one_rollback_undoes_interrupted_and_repeated_deployments(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    before = tree(target)
    for _ in range(3):
        killed(monkeypatch, where, lambda: put_in_service(tmp_path, 2))
        if where in ("apply", "_put_in_place"):
            break  # the journal exists, so the deployment counts
    put_in_service(tmp_path, 2)
    assert answer_of(target) == 2
    put_in_service(tmp_path, 2)
    rollback(target)
    assert tree(target) == before
    assert answer_of(target) == 1


def test_the_directory_serves_the_new_deployment_once_its_journal_is_written(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(monkeypatch, "begin", lambda: put_in_service(tmp_path, 2))
    assert answer_of(target) == 1
    killed(monkeypatch, "apply", lambda: put_in_service(tmp_path, 2))
    # No name has changed, and nothing was repaired.
    assert answer_of(target) == answer_of(target / FULL) == 2
    assert check.main([str(target)]) == 0
    assert answer_of(target) == 2


@pytest.mark.attack("stale", "the retired file is refused")
def test_a_retired_file_is_refused_once_the_journal_is_written(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "run1" / "flow.decoder.estimator.streaming.fp32.onnx"
    put_estimator(other, 1, streaming=True)
    put_in_service(tmp_path, 1)
    assert answer_of(target / other.name, streaming=True) == 1
    killed(monkeypatch, "apply", lambda: put_in_service(tmp_path, 2))
    assert (target / other.name).is_file()
    with pytest.raises(ArtifactRefused, match="a deployment has retired it"):
        answer_of(target / other.name, streaming=True)


def test_a_file_below_a_directory_in_service_is_read_through_its_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deploy_version(answer: float) -> None:
        folder = tmp_path / f"run{answer:g}"
        folder.mkdir()
        put_estimator(folder / FULL, answer)
        settings = DeploySettings(service=Service.triton, dir=str(tmp_path / "models"))
        deploy(folder, settings, Environment(gpu_list=()), profiles=[{"seq_len": (4, 8, 12)}])

    deploy_version(1)
    (served,) = (tmp_path / "models").glob("*/1/model.onnx")
    assert answer_of(served) == 1
    killed(monkeypatch, "apply", lambda: deploy_version(2))
    assert answer_of(served) == 2


def test_the_same_deployment_again_changes_nothing(tmp_path: Path, target: Path) -> None:
    assert put_in_service(tmp_path, 1)["changed"] is False
    assert [backup.number for backup in backups(target)] == [1]
    (target / FULL).write_bytes(b"damaged")
    assert put_in_service(tmp_path, 1)["changed"] is True
    assert answer_of(target) == 1


def test_old_backups_are_removed_by_the_deployment_that_exceeds_their_number(tmp_path: Path, target: Path) -> None:
    for answer in range(2, 9):
        put_in_service(tmp_path, answer, keep_backups=3)
    assert [backup.number for backup in backups(target)] == [6, 7, 8]
    for expected in (7, 6, 5):
        rollback(target)
        assert answer_of(target) == expected
    with pytest.raises(DeployError, match=r"All deployments of .* are undone"):
        rollback(target)


def test_a_rollback_does_not_restore_the_present_state(tmp_path: Path, target: Path) -> None:
    put_in_service(tmp_path, 2)
    rollback(target)
    put_in_service(tmp_path, 3)
    rollback(target)
    assert answer_of(target) == 1
    # The second deployment is undone already; the next rollback undoes the first.
    rollback(target)
    assert tree(target) == {}


@pytest.mark.attack("interrupt", "the old or the new state")
def test_rollback_works_on_a_full_disk(tmp_path: Path) -> None:
    run = tmp_path / "big"
    run.mkdir()
    path = put_estimator(run / FULL, 1)
    put_estimator(run / FULL, 1, padding="x" * 400_000)  # the manifest alone takes 400 kB
    del path
    with mounted(tmp_path / "service", "2m") as disk:
        settings = DeploySettings(service=Service.bundle, dir=str(disk))
        deploy(run, settings, Environment(gpu_list=()))
        put_in_service(tmp_path, 2)
        fill(disk, 0)
        assert free_bytes(disk) == 0
        rollback(disk)
        assert answer_of(disk) == 1
        rollback(disk, 3)
        assert answer_of(disk) == 2
        with pytest.raises(DeployError, match="No space left on device"):
            put_in_service(tmp_path, 3)
        assert answer_of(disk) == 2


@pytest.mark.attack("interrupt", "the old or the new state")
@pytest.mark.parametrize("damaged", [False, True])
def test_a_deployment_with_a_staged_file_missing_is_not_called_finished(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damaged: bool
) -> None:
    before = tree(target)
    killed(monkeypatch, "_put_in_place", lambda: put_in_service(tmp_path, 2))
    staged = next((target / STATE).glob(f"staging-*/{FULL}"))
    staged.write_bytes(b"cut off") if damaged else staged.unlink()
    for command in (["check", str(target)], ["check", str(target / FULL)]):
        assert main(command) == 10
        said = capsys.readouterr().err
        assert f"cannot be completed: its staged file {FULL} is missing or damaged" in said
        assert f"cosybuild rollback {target}" in said
    with pytest.raises(DeployError, match="cannot be completed"):
        put_in_service(tmp_path, 3)
    assert main(["rollback", str(target)]) == 0
    assert tree(target) == before
    assert answer_of(target) == 1
    assert main(["check", str(target)]) == 0
    put_in_service(tmp_path, 3)
    rollback(target)
    assert answer_of(target) == 1


@pytest.mark.attack("interrupt", "the old or the new state")
def test_an_interrupted_undo_is_continued(tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(monkeypatch, "_put_in_place", lambda: put_in_service(tmp_path, 2))
    next((target / STATE).glob(f"staging-*/{FULL}")).unlink()
    killed(monkeypatch, "_put_in_place", lambda: rollback(target))
    assert answer_of(target) == 1
    transaction.recover(target)
    assert answer_of(target) == 1
    assert [backup.number for backup in backups(target)] == [1]


def test_check_finishes_interrupted_deployments_at_any_depth_and_for_a_file(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path, target / FULL):
        put_in_service(tmp_path, 1)
        killed(monkeypatch, "apply", lambda: put_in_service(tmp_path, 2))
        capsys.readouterr()
        assert check.main([str(path)]) == 0
        assert f"an interrupted deployment to {target} was finished" in capsys.readouterr().out
        assert view_of(target).journal is None
        assert answer_of(target) == 2


def test_check_reports_files_that_were_deployed_and_are_missing(
    tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (target / FULL).unlink()
    assert check.main([str(target), "--json"]) == 5
    (found,) = json.loads(capsys.readouterr().out)
    assert found["name"] == FULL
    assert "was deployed and is now missing" in found["reason"]
    (target / f"{FULL}.manifest.json").unlink()
    assert check.main([str(target)]) == 5


def test_check_of_an_empty_directory_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([str(tmp_path)]) == 10
    assert "has neither graphs nor engines" in capsys.readouterr().out


@pytest.mark.attack("malformed", "an error with a next command")
@pytest.mark.parametrize(
    "journal",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 9999,
        b'{"puts": ["a"], "removes": [], "position": 0}',
        b'{"number": 1, "staging": "../x", "puts": {}, "removes": [], "position": 0, "files": {}, "discards": 0}',
        b'{"number": 1, "staging": "s", "puts": {}, "removes": ["/x"], "position": 0, "files": {}, "discards": 0}',
        b'{"number": 1, "staging": "s", "puts": {"a\\\\x": ""}, "removes": [], "position": 0, "files": {}}',
    ],
)
def test_a_damaged_journal_gives_a_clear_error(
    tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str], journal: bytes
) -> None:
    from cosybuild.__main__ import main

    (target / STATE / "journal.json").write_bytes(journal)
    for command in (["check", str(target)], ["rollback", str(target)]):
        assert main(command) == 10
        assert "journal.json is damaged" in capsys.readouterr().err
    with pytest.raises(ArtifactRefused, match=r"journal\.json"):
        answer_of(target)
    with pytest.raises(DeployError, match="is damaged"):
        put_in_service(tmp_path, 2)


def test_a_reader_starts_again_if_a_deployment_changes_the_directory(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remaining = [2]
    original = load.admit

    def admit(*arguments: object, **named: object) -> object:
        admitted = original(*arguments, **named)  # type: ignore[arg-type]  # passed on
        if remaining[0]:
            remaining[0] -= 1
            put_in_service(tmp_path, 5 + remaining[0])
        return admitted

    monkeypatch.setattr(load, "admit", admit)
    assert answer_of(target) == 5


def test_files_are_moved_where_there_are_no_hard_links(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise OSError(1, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    before = tree(target)
    put_in_service(tmp_path, 2)
    assert answer_of(target) == 2
    rollback(target)
    assert tree(target) == before
