"""A signed bundle: the receiver reads whose key signed it, and imports only signed files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cosybuild.errors import ConfigurationError
from cosybuild.run.sharing import import_bundle
from cosybuild.run.sharing.import_bundle import read_bundle
from cosybuild.signing import key_fingerprint, verify
from cosybuild.store.store import Store
from tests.keys import write_pair
from tests.scenarios.commands import Place
from tests.scenarios.sweeping import EXACT

pytest.importorskip("model_signing", reason="needs the extra `sign`")


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a finished run, bundled and signed with key.pem."""
    place = Place(tmp_path_factory.mktemp("sender"))
    write_pair(place.directory)
    place.cosybuild(*EXACT)
    name = place.runs()[0].name
    place.last = place.cosybuild("bundle", name, "--into", "run.tar.gz", "--sign", "key.pem")
    return place


def test_the_key_of_a_signed_bundle_is_reported_and_recorded(sender: Place, place: Place) -> None:
    public = sender.directory / "key.pub"
    fingerprint = key_fingerprint(public)
    assert f"run.tar.gz.sig  signed with the key {fingerprint}" in sender.last.out
    assert "import run.tar.gz --verify-key PUBKEY" in sender.last.out
    archive = str(sender.directory / "run.tar.gz")
    assert "signed with" not in place.cosybuild("import", archive).out
    (run,) = place.runs()
    assert json.loads((run / "foreign.json").read_text())["signer"] is None
    ran = place.cosybuild("import", archive, "--verify-key", str(public))
    assert f"signed with the key {fingerprint}" in ran.out
    assert json.loads((run / "foreign.json").read_text())["signer"] == fingerprint
    again = place.cosybuild("import", archive, "--json")
    assert json.loads(again.out)["signer"] == fingerprint, "the same archive, verified before"
    told = place.cosybuild("replay", run.name, code=2).out
    assert f"signed with the key {fingerprint}" in " ".join(told.split())


@pytest.mark.attack("forge", "the archive is refused")
def test_an_unsigned_or_changed_bundle_leaves_no_file(sender: Place, place: Place) -> None:
    archive = place.directory / "run.tar.gz"
    archive.write_bytes((sender.directory / "run.tar.gz").read_bytes())
    public = str(sender.directory / "key.pub")
    assert "has no signature" in place.cosybuild("import", "run.tar.gz", "--verify-key", public, code=2).err
    signature = (sender.directory / "run.tar.gz.sig").read_bytes()
    archive.with_name("run.tar.gz.sig").write_bytes(signature)
    archive.write_bytes(archive.read_bytes() + b"\0")
    assert "is not a signature of it" in place.cosybuild("import", "run.tar.gz", "--verify-key", public, code=2).err
    assert place.files() == {"run.tar.gz", "run.tar.gz.sig"}


@pytest.mark.attack("forge", "the archive is refused")
def test_an_archive_replaced_after_the_verification_is_refused(
    sender: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, public = tmp_path / "run.tar.gz", sender.directory / "key.pub"
    archive.write_bytes((sender.directory / "run.tar.gz").read_bytes())
    archive.with_name("run.tar.gz.sig").write_bytes((sender.directory / "run.tar.gz.sig").read_bytes())

    def then_replace(file: Path, key: Path) -> object:
        signed = verify(file, key)
        file.write_bytes(file.read_bytes() + b"\0")
        return signed

    monkeypatch.setattr(import_bundle, "verify", then_replace)
    with pytest.raises(ConfigurationError, match="changed after its signature was verified"):
        read_bundle(archive, Store(tmp_path / "store"), tmp_path / "runs", key=public)
    assert not (tmp_path / "runs").exists()


def test_a_key_that_cannot_be_used_is_refused_before_the_archive_is_written(sender: Place, tmp_path: Path) -> None:
    target = str(tmp_path / "x.tar.gz")
    ran = sender.cosybuild("bundle", sender.runs()[0].name, "--into", target, "--sign", "key.pub", code=2)
    assert "a private key of an elliptic curve" in ran.err
    assert not list(tmp_path.iterdir())
