"""Signed deployments: `check --verify-key` accepts only the files that the owner of the key has deployed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cosybuild.__main__ import main
from cosybuild.config.groups.deploy import DeploySettings, Service
from cosybuild.deploy.deploy import deploy
from cosybuild.deploy.rollback import rollback
from cosybuild.errors import ConfigurationError
from cosybuild.manifest import file_fact, manifest_text
from cosybuild.signing import key_fingerprint, sign
from cosybuild.system.environment import Environment
from tests.deploy.delivering import answer_of, put_estimator, tree
from tests.keys import write_pair

pytest.importorskip("model_signing", reason="needs the extra `sign`")
E = "flow.decoder.estimator.fp32.onnx"
S = "flow.decoder.estimator.streaming.fp32.onnx"


@dataclass(frozen=True)
class Served:
    """A directory in service, and the keys of the person who deploys there."""

    directory: Path
    key: Path
    public: Path
    work: Path

    def deploy(self, answer: float, *, signed: bool = True, name: str = E, key: Path | None = None, **more: Any) -> Any:
        made = self.work / f"made{len(list(self.work.iterdir()))}"
        made.mkdir(parents=True)
        put_estimator(made / name, answer, **more)
        secret = str(key or self.key) if signed else None
        settings = DeploySettings(service=Service.bundle, dir=str(self.directory), sign=secret)
        return deploy(made, settings, Environment(gpu_list=()))


@pytest.fixture
def served(tmp_path: Path) -> Served:
    key, public = write_pair(tmp_path)
    (tmp_path / "work").mkdir()
    served = Served(tmp_path / "service", key, public, tmp_path / "work")
    served.deploy(1)
    return served


def checked(served: Served, capsys: pytest.CaptureFixture[str], path: Path | None = None) -> tuple[int, dict[str, str]]:
    """Return the exit code, and name -> state and reason of every file that is not current."""
    capsys.readouterr()
    code = main(["check", str(path or served.directory), "--verify-key", str(served.public), "--json"])
    found = json.loads(capsys.readouterr().out)
    return code, {f["name"]: f"{f['state']}: {f['reason']}" for f in found if f["state"] != "current"}


def test_signed_files_are_current(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(served, capsys) == (0, {})
    assert checked(served, capsys, served.directory / E) == (0, {})
    assert main(["check", str(served.directory), "--verify-key", str(served.public)]) == 0
    assert f"is signed with the key {key_fingerprint(served.public)}" in capsys.readouterr().out
    assert answer_of(served.directory) == 1


def test_the_same_deployment_again_changes_nothing(served: Served) -> None:
    before = tree(served.directory)
    assert served.deploy(1)["changed"] is False
    assert tree(served.directory) == before


def test_all_variants_in_a_directory_are_signed(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served.deploy(1, name=S, streaming=True)
    assert checked(served, capsys) == (0, {})
    served.deploy(2)
    assert checked(served, capsys) == (0, {}), "the retired files are no longer on the list"
    assert {path.name for path in served.directory.glob("*.onnx")} == {E}


def test_rollback_restores_the_list(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served.deploy(2)
    rollback(served.directory)
    assert checked(served, capsys) == (0, {})
    assert answer_of(served.directory) == 1


def test_a_key_that_cannot_be_used_changes_nothing(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(served.directory)
    with pytest.raises(ConfigurationError, match="a private key of an elliptic curve"):
        served.deploy(2, key=served.public)
    assert tree(served.directory) == before
    assert main(["check", str(served.directory), "--verify-key", str(served.key)]) == 2


def forged(served: Served) -> None:
    """Write another graph with a sealed manifest, as anybody with write access can."""
    graph = served.directory / E
    before = json.loads(Path(f"{graph}.manifest.json").read_text())
    other = served.work / "other.onnx"
    put_estimator(other, 7)
    shutil.copyfile(other, graph)
    facts = {k: v for k, v in before.items() if k not in ("file", "companions", "seal", "format", "version")}
    Path(f"{graph}.manifest.json").write_text(manifest_text(file_fact(graph), [], facts))


def added(served: Served) -> None:
    other = served.directory / S
    put_estimator(other, 1, streaming=True)


def listed_by_hand(served: Served) -> None:
    added(served)
    path = served.directory / "cosybuild.files.json"
    plain = json.loads(path.read_text())
    for name in (S, f"{S}.manifest.json"):
        plain["files"][name] = file_fact(served.directory / name)["sha256"]
    path.write_text(json.dumps(plain))


def signed_by_another(served: Served) -> None:
    listed_by_hand(served)
    other, _ = write_pair(served.work, "other")
    sign(served.directory / "cosybuild.files.json", other)


def recorded_as_deployed(served: Served) -> None:
    """Add a file to the record of deployments; the next deployment must not sign it."""
    added(served)
    path = served.directory / ".cosybuild-backup" / "current.json"
    plain = json.loads(path.read_text())
    plain["files"][S] = file_fact(served.directory / S)["sha256"]
    path.write_text(json.dumps(plain))
    served.deploy(1, name=E, verified_at="again")


def edited_manifest(served: Served) -> None:
    path = served.directory / f"{E}.manifest.json"
    plain = json.loads(path.read_text())
    facts = {k: v for k, v in plain.items() if k not in ("file", "companions", "seal", "format", "version")}
    facts["model"]["streaming"] = True
    path.write_text(manifest_text(plain["file"], [], facts))


TAMPERED: dict[str, tuple[Callable[[Served], object], int, str]] = {
    "a graph and its manifest replaced": (forged, 5, "not the file that the owner"),
    "a graph added": (added, 10, "did not sign it"),
    "a graph added and listed": (listed_by_hand, 10, "is not a signature of it"),
    "a list signed by another": (signed_by_another, 10, "is not a signature of it"),
    "a graph in the record of deployments": (recorded_as_deployed, 10, "did not sign it"),
    "a manifest edited and sealed again": (edited_manifest, 5, "not the file that the owner"),
    "a manifest removed": (lambda served: (served.directory / f"{E}.manifest.json").unlink(), 5, "now missing"),
    "a graph removed": (lambda served: (served.directory / E).unlink(), 5, "now missing"),
    "the list removed": (lambda served: (served.directory / "cosybuild.files.json").unlink(), 5, "was not signed"),
    "the signature removed": (
        lambda served: (served.directory / "cosybuild.files.json.sig").unlink(),
        5,
        "has no signature",
    ),
    "a deployment without a signature": (
        lambda served: served.deploy(2, signed=False),
        5,
        "not the file that the owner",
    ),
    "a deployment signed by another": (
        lambda served: served.deploy(1, name=S, streaming=True, key=write_pair(served.work, "other")[0]),
        10,
        "is not a signature of it",
    ),
}


@pytest.mark.attack("forge", "the file is reported")
@pytest.mark.parametrize("what", TAMPERED)
def test_every_manipulation_is_reported(served: Served, capsys: pytest.CaptureFixture[str], what: str) -> None:
    tamper, code, words = TAMPERED[what]
    tamper(served)
    found = checked(served, capsys)
    assert found[0] == code, found
    assert any(words in reason for reason in found[1].values()), found
