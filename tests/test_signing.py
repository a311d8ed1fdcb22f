"""Signatures: only the content that the owner of the key signed is accepted."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cosybuild.errors import ConfigurationError, MissingRequirement
from cosybuild.signing import key_fingerprint, sign, signature_path, verify, verify_own
from tests.keys import write_pair


@dataclass(frozen=True)
class Sent:
    """A signed file, the keys of its sender, and the keys of another person."""

    file: Path
    key: Path
    public: Path
    strange: Path

    @property
    def signature(self) -> Path:
        return signature_path(self.file)

    def envelope(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the JSON of the signature."""
        plain = json.loads(self.signature.read_text())
        change(plain)
        self.signature.write_text(json.dumps(plain))

    def statement(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the statement in the signature, and nothing else."""

        def inner(plain: dict[str, Any]) -> None:
            payload = json.loads(base64.b64decode(plain["dsseEnvelope"]["payload"]))
            change(payload)
            plain["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()

        self.envelope(inner)


@pytest.fixture
def sent(tmp_path: Path) -> Sent:
    pytest.importorskip("model_signing", reason="needs the extra `sign`")
    file = tmp_path / "run.tar.gz"
    file.write_bytes(bytes(range(256)) * 20)
    key, public = write_pair(tmp_path)
    sign(file, key)
    return Sent(file, key, public, write_pair(tmp_path, "strange")[0])


def test_a_signed_file_is_accepted_and_the_key_is_named(sent: Sent) -> None:
    signed = verify(sent.file, sent.public)
    assert signed.key == hashlib.sha256(sent.public.read_bytes()).hexdigest() == key_fingerprint(sent.public)
    assert signed.sha256 == hashlib.sha256(sent.file.read_bytes()).hexdigest()
    assert verify_own(sent.file, sent.key) == signed


def test_a_file_may_be_renamed_with_its_signature(sent: Sent) -> None:
    moved = sent.file.with_name("other.tar.gz")
    sent.signature.rename(signature_path(moved))
    assert sent.file.rename(moved) == moved
    assert verify(moved, sent.public).key == key_fingerprint(sent.public)


def test_the_command_of_the_library_verifies_it_too(sent: Sent) -> None:
    command = (sys.executable, "-m", "model_signing", "verify", "key", str(sent.file))
    words = ("--signature", str(sent.signature), "--public_key", str(sent.public))
    assert subprocess.run([*command, *words], check=False, capture_output=True).returncode == 0
    sent.file.write_bytes(b"other")
    assert subprocess.run([*command, *words], check=False, capture_output=True).returncode != 0


def by_another(sent: Sent) -> None:
    sign(sent.file, sent.strange)


def by_another_with_the_name_of_the_key(sent: Sent) -> None:
    hint = json.loads(sent.signature.read_text())["verificationMaterial"]
    by_another(sent)
    sent.envelope(lambda plain: plain.update(verificationMaterial=hint))


def of_another_file(sent: Sent) -> None:
    other = sent.file.with_name("other")
    other.write_bytes(b"other")
    sign(other, sent.key)
    signature_path(other).replace(sent.signature)


def of_a_directory(sent: Sent) -> None:
    from model_signing import signing

    place = sent.file.with_name("directory")
    place.mkdir()
    (place / sent.file.name).write_bytes(sent.file.read_bytes())
    signing.Config().use_elliptic_key_signer(private_key=sent.key).sign(place, sent.signature)


def other_digest(sent: Sent) -> None:
    sent.file.write_bytes(b"other")
    digest = hashlib.sha256(b"other").hexdigest()
    sent.statement(lambda plain: plain["predicate"]["resources"][0].update(digest=digest))


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def replaced_by_a_fifo(sent: Sent) -> None:
    sent.signature.unlink()
    os.mkfifo(sent.signature)


TAMPERED: dict[str, Callable[[Sent], object]] = {
    "a bit of the file": lambda sent: flipped(sent.file),
    "the file cut off": lambda sent: sent.file.write_bytes(sent.file.read_bytes()[:-1]),
    "the file made longer": lambda sent: sent.file.write_bytes(sent.file.read_bytes() + b"x"),
    "another file": lambda sent: sent.file.write_bytes(b"other"),
    "another file, whose digest the statement names": other_digest,
    "no signature": lambda sent: sent.signature.unlink(),
    "an empty signature": lambda sent: sent.signature.write_bytes(b""),
    "a FIFO as the signature": replaced_by_a_fifo,
    "a huge signature": lambda sent: sent.signature.write_bytes(b" " * (2**20 + 1)),
    "a signature nested deeply": lambda sent: sent.signature.write_text("[" * 10**5 + "]" * 10**5),
    "the signature of another key": by_another,
    "the signature of another key under the name of this one": by_another_with_the_name_of_the_key,
    "the signature of another file": of_another_file,
    "the signature of a directory that holds the file": of_a_directory,
    "other bytes of the signature": lambda sent: sent.envelope(
        lambda plain: plain["dsseEnvelope"]["signatures"][0].update(sig=base64.b64encode(bytes(70)).decode())
    ),
    "no signatures in the envelope": lambda sent: sent.envelope(
        lambda plain: plain["dsseEnvelope"].update(signatures=[])
    ),
    "another type of payload": lambda sent: sent.envelope(
        lambda plain: plain["dsseEnvelope"].update(payloadType="text/plain")
    ),
    "a statement of no file": lambda sent: sent.statement(lambda plain: plain["predicate"].update(resources=[])),
    "a statement that ignores the file": lambda sent: sent.statement(
        lambda plain: plain["predicate"]["serialization"]["ignore_paths"].append(".")
    ),
    "a certificate in place of the key": lambda sent: sent.envelope(
        lambda plain: plain.update(verificationMaterial={"certificate": {"rawBytes": "AA=="}})
    ),
}


@pytest.mark.attack("forge", "the signature is refused")
@pytest.mark.parametrize("what", TAMPERED)
def test_every_manipulation_is_refused(sent: Sent, what: str) -> None:
    TAMPERED[what](sent)
    with pytest.raises(ConfigurationError, match=r"run\.tar\.gz is refused") as raised:
        verify(sent.file, sent.public)
    assert "Next: " in str(raised.value)


@pytest.mark.parametrize("what", ["missing", "a directory", "text", "with a password", "RSA", "secp256k1", "Ed25519"])
def test_the_error_names_a_key_that_cannot_be_used(tmp_path: Path, what: str) -> None:
    pytest.importorskip("model_signing", reason="needs the extra `sign`")
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    key, public = tmp_path / "key.pem", tmp_path / "key.pub"
    if what == "a directory":
        key.mkdir()
    elif what == "text":
        key.write_text("no key")
    elif what == "with a password":
        write_pair(tmp_path, password=b"secret")
    elif what != "missing":
        made = {
            "RSA": lambda: rsa.generate_private_key(65537, 2048),
            "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
            "Ed25519": ed25519.Ed25519PrivateKey.generate,
        }[what]()
        write_pair(tmp_path, private=made)
    with pytest.raises(ConfigurationError, match="a private key of an elliptic curve"):
        key_fingerprint(key, private=True)
    if what in ("RSA", "secp256k1", "Ed25519"):
        with pytest.raises(ConfigurationError, match="a public key of an elliptic curve"):
            key_fingerprint(public)


def test_each_half_of_a_pair_is_refused_in_place_of_the_other(tmp_path: Path) -> None:
    pytest.importorskip("model_signing", reason="needs the extra `sign`")
    key, public = write_pair(tmp_path)
    with pytest.raises(ConfigurationError):
        key_fingerprint(key)
    with pytest.raises(ConfigurationError):
        key_fingerprint(public, private=True)


def test_without_the_library_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cryptography")
    key, _ = write_pair(tmp_path)
    monkeypatch.setitem(sys.modules, "model_signing", None)
    (tmp_path / "file").write_text("x")
    with pytest.raises(MissingRequirement, match=r"pip install 'cosybuild\[sign\]'"):
        sign(tmp_path / "file", key)
    assert not (tmp_path / "file.sig").exists()
