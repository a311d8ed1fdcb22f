"""A foreign directory with links and a planted journal or backup changes nothing outside itself."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from cosybuild.__main__ import main
from cosybuild.deploy.staging import Put
from cosybuild.deploy.transaction import changing, publish
from cosybuild.directory_in_service import STATE
from cosybuild.errors import DeployError

_EVIL = "evil"


@pytest.fixture
def ground(tmp_path: Path) -> Path:
    """Return a directory with `outside/victim` and a directory in service `svc`."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim").write_text("precious")
    (tmp_path / "svc" / STATE / "staging-0001").mkdir(parents=True)
    return tmp_path


def journal(ground: Path, puts: list[str], removes: list[str], staging: str = "staging-0001") -> None:
    digest = hashlib.sha256(_EVIL.encode()).hexdigest()
    record: dict[str, Any] = {
        "number": 1, "staging": staging, "puts": dict.fromkeys(puts, digest), "removes": removes,
        "position": 0, "files": {}, "discards": False,
    }  # fmt: skip
    (ground / "svc" / STATE / "journal.json").write_text(json.dumps(record))


def stage(ground: Path, name: str) -> None:
    path = ground / "svc" / STATE / "staging-0001" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_EVIL)


def everything(ground: Path) -> dict[str, str]:
    """Return name -> content of every file and link, except the lock."""
    return {
        path.relative_to(ground).as_posix(): str(path.readlink()) if path.is_symlink() else path.read_text()
        for path in ground.rglob("*")
        if (path.is_symlink() or path.is_file()) and path.name != "lock"
    }


def a_link_in_service(ground: Path) -> None:
    stage(ground, "link/planted")
    (ground / "svc" / "link").symlink_to("../outside")
    journal(ground, ["link/planted"], ["link/victim"])


def a_link_further_down(ground: Path) -> None:
    stage(ground, "first")
    stage(ground, "a/link/planted")
    (ground / "svc" / "a").mkdir()
    (ground / "svc" / "a" / "link").symlink_to("../../outside")
    journal(ground, ["first", "a/link/planted"], [])


def a_linked_staging_directory(ground: Path) -> None:
    (ground / "outside" / "planted").write_text(_EVIL)
    (ground / "svc" / STATE / "staging-0001").rmdir()
    (ground / "svc" / STATE / "staging-0001").symlink_to("../../outside")
    journal(ground, ["planted"], [])


def a_staged_link(ground: Path) -> None:
    (ground / "outside" / "planted").write_text(_EVIL)
    (ground / "svc" / STATE / "staging-0001" / "planted").symlink_to("../../../outside/planted")
    journal(ground, ["planted"], [])


def a_linked_lock(ground: Path) -> None:
    stage(ground, "planted")
    (ground / "svc" / STATE / "lock").symlink_to("../../outside/victim")
    journal(ground, ["planted"], [])


def a_linked_state(ground: Path) -> None:
    stage(ground, "planted")
    journal(ground, ["planted"], [])
    (ground / "svc" / STATE).rename(ground / "outside" / "state")
    (ground / "svc" / STATE).symlink_to("../outside/state")


def another_staging_directory(ground: Path) -> None:
    journal(ground, [], [], staging="0001")


def names_in_the_state(ground: Path) -> None:
    journal(ground, [], [f"{STATE}/0001/record.json"])


PLANTED = [
    a_link_in_service, a_link_further_down, a_linked_staging_directory, a_staged_link, a_linked_lock, a_linked_state,
    another_staging_directory, names_in_the_state,
]  # fmt: skip


@pytest.mark.parametrize("plant", PLANTED)
@pytest.mark.parametrize("command", ["check", "rollback"])
def test_a_planted_journal_is_refused_as_a_whole(
    ground: Path, plant: Any, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(ground)
    before = everything(ground)
    assert main([command, str(ground / "svc")]) == DeployError.exit_code
    after = {name: text for name, text in everything(ground).items() if not name.endswith("/reserve")}
    assert after == before
    told = capsys.readouterr().err
    assert "is not changed" in told
    assert "Next:" in told


@pytest.mark.parametrize("name", ["../outside/victim", "link/victim"])
def test_a_planted_backup_removes_nothing_outside(ground: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    backup = ground / "svc" / STATE / "0001"
    (backup / "files").mkdir(parents=True)
    (backup / "record.json").write_text(json.dumps({"kind": "deploy", "existed": {name: False}}))
    (ground / "svc" / "link").symlink_to("../outside")
    journal(ground, ["lost"], [])  # cannot be finished, so a rollback undoes it
    assert main(["rollback", str(ground / "svc")]) == DeployError.exit_code
    assert (ground / "outside" / "victim").read_text() == "precious"
    (ground / "svc" / STATE / "journal.json").unlink()
    assert main(["rollback", str(ground / "svc")]) == DeployError.exit_code
    assert (ground / "outside" / "victim").read_text() == "precious"


def test_a_deployment_enters_no_link_but_replaces_one(ground: Path) -> None:
    root = ground / "svc"
    (root / "link").symlink_to("../outside")
    (root / "model.onnx").symlink_to("../outside/victim")
    with changing(root), pytest.raises(DeployError, match="link in it is a symbolic link"):
        publish(root, [Put("link/planted", _EVIL)], [])
    with changing(root):
        publish(root, [Put("model.onnx", "new")], [])
    assert (root / "model.onnx").read_text() == "new"
    assert everything(ground / "outside") == {"victim": "precious"}


@pytest.fixture
def served(ground: Path) -> Path:
    """Return a directory in service with two deployments."""
    root = ground / "svc"
    (ground / "new").write_text("new")
    for name in ("one.txt", "two.txt"):
        with changing(root):
            publish(root, [Put(name, ground / "new")], [])
    return root


CURRENT_RECORD, BACKUP_RECORD = "current.json", "0001/record.json"


@pytest.mark.attack("malformed", "the error names the record, and nothing is changed")
@pytest.mark.parametrize(
    ("record", "planted"),
    [
        (CURRENT_RECORD, {"files": {"a" * 5000: "0" * 64}}),
        (CURRENT_RECORD, {"files": {"../../etc/passwd": "0" * 64}}),
        (CURRENT_RECORD, {"files": {"": "0" * 64}}),
        (CURRENT_RECORD, {"position": -1}),
        (CURRENT_RECORD, {"position": 2**62}),
        (BACKUP_RECORD, {"position": -5}),
        (BACKUP_RECORD, {"files": {"../victim": "0" * 64}}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_a_planted_record_is_refused_and_changes_nothing(
    served: Path, record: str, planted: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path = served / STATE / record
    path.write_text(json.dumps(json.loads(path.read_text()) | planted))
    before = everything(served)
    assert main(["rollback", str(served), "--to", "1"]) == 10
    assert f"{record} is damaged" in capsys.readouterr().err
    assert everything(served).items() - before.items() <= {(f"{STATE}/reserve", "\0" * 2**17)}


@pytest.mark.attack("read or write", "no name of the record is looked for outside the directory")
@pytest.mark.parametrize("name", ["../outside/victim", "a" * 5000])
def test_check_looks_for_no_file_outside(served: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (served / STATE / CURRENT_RECORD).write_text(json.dumps({"number": 2, "files": {name: "0" * 64}}))
    assert main(["check", str(served)]) == 10
    assert "is no plain path" in capsys.readouterr().err


@pytest.mark.attack("malformed", "one sentence names the record")
@pytest.mark.parametrize("record", ["current.json", "journal.json"])
def test_a_directory_in_place_of_a_record_is_refused(
    served: Path, record: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (served / STATE / record).unlink(missing_ok=True)
    (served / STATE / record).mkdir()
    assert main(["check", str(served)]) == 10
    assert f"{record} is not a regular file" in capsys.readouterr().err


@pytest.mark.attack("malformed", "the change is refused before its first step")
def test_the_largest_number_of_a_backup_ends_no_directory(served: Path) -> None:
    """A change with a larger number would write a record that every later command refuses."""
    record = served / STATE / CURRENT_RECORD
    record.write_text(json.dumps(json.loads(record.read_text()) | {"number": 10**9 - 1}))
    before = everything(served)
    with pytest.raises(DeployError, match="the largest that a backup can have"), changing(served):
        publish(served, [], ["one.txt"])
    assert everything(served) == before
