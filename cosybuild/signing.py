"""Sign files and verify their signatures, in the format of OpenSSF Model Signing, with a key pair.

No network is needed. The signature of FILE is FILE.sig. The command `model_signing verify key` of the package
model-signing also reads it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.errors import ConfigurationError
from cosybuild.lazy import require

SIGNATURE = ".sig"
"""The suffix of a signature."""
_LARGEST = 2**20
"""The largest key or signature that is read, in bytes; both are about one KiB."""
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_MAKE = "openssl ecparam -name prime256v1 -genkey -noout -out KEY; openssl ec -in KEY -pubout -out PUBKEY"


@dataclass(frozen=True)
class Signed:
    """The key and the content of a verified signature.

    Attributes:
        key: the fingerprint of the public key, see `key_fingerprint`.
        sha256: the sha256 of the signed file.
    """

    key: str
    sha256: str


def signature_path(file: Path) -> Path:
    """Return the path of a file's signature, FILE.sig."""
    return file.with_name(file.name + SIGNATURE)


def key_fingerprint(key: Path, *, private: bool = False) -> str:
    """Return the fingerprint of a key: the sha256 of the public key's PEM file, as `sha256sum` prints it.

    Args:
        key: a PEM file with a key of an elliptic curve.
        private: True if the file has a private key, False if it has a public key.

    Raises:
        ConfigurationError: the file does not contain such a key.
        MissingRequirement: the extra `sign` is not installed.
    """
    return hashlib.sha256(_public_pem(key, private=private)).hexdigest()


def sign(file: Path, key: Path) -> str:
    """Write the signature of a file beside it, and return the fingerprint of the key.

    Args:
        file: the file to sign.
        key: a PEM file with the private key.

    Raises:
        ConfigurationError: the private key cannot be used.
        MissingRequirement: the extra `sign` is not installed.
    """
    fingerprint = key_fingerprint(key, private=True)
    part = file.with_name(f".{file.name}{SIGNATURE}.part")
    signing = require("model_signing.signing", "A signature")
    signing.Config().use_elliptic_key_signer(private_key=key).sign(file, part)
    part.replace(signature_path(file))
    return fingerprint


def verify(file: Path, key: Path) -> Signed:
    """Verify the signature beside a file with a public key.

    The file may change after the check. A caller that reads it later must compare its digest with `Signed.sha256`.

    Args:
        file: the signed file.
        key: a PEM file with the public key.

    Raises:
        ConfigurationError: the key cannot be used, or the signature is missing or is not of this file and this key.
        MissingRequirement: the extra `sign` is not installed.
    """
    return _verify(file, key, key_fingerprint(key))


def verify_own(file: Path, key: Path) -> Signed:
    """Verify the signature beside a file with the public key that belongs to a private key; see `verify`.

    Args:
        file: the signed file.
        key: a PEM file with the private key.
    """
    pem = _public_pem(key, private=True)
    with tempfile.TemporaryDirectory(prefix="cosybuild-key-") as temporary:
        public = Path(temporary) / "public.pem"
        public.write_bytes(pem)
        return _verify(file, public, hashlib.sha256(pem).hexdigest())


def _verify(file: Path, key: Path, fingerprint: str) -> Signed:
    verifying = require("model_signing.verifying", "A signature")
    content = _read(file, signature_path(file))
    with tempfile.TemporaryDirectory(prefix="cosybuild-signature-") as temporary:
        signature = Path(temporary) / "signature"
        signature.write_bytes(content)
        try:
            # The library prints a warning for signatures that its first versions wrote.
            with contextlib.redirect_stdout(io.StringIO()):
                verifying.Config().use_elliptic_key_verifier(public_key=key).verify(file, signature)
            digest = _signed_digest(content)
        except Exception as error:  # the library's parsers of signatures may raise anything
            why = str(error).strip() or type(error).__name__
            raise _refused(
                file, f"{signature_path(file).name} is not a signature of it by {fingerprint}: {why}"
            ) from error
    return Signed(fingerprint, digest)


def _read(file: Path, signature: Path) -> bytes:
    if not file.is_file():
        raise ConfigurationError(f"{file} cannot be read: no such file.", hint="Next: correct the path.")
    if not signature.is_file():
        raise _refused(file, f"it has no signature: {signature.name} is missing")
    if signature.stat().st_size > _LARGEST:
        raise _refused(file, f"{signature.name} is not a signature: it has more than {_LARGEST} bytes")
    return signature.read_bytes()


def _signed_digest(content: bytes) -> str:
    """Return the sha256 of the signed file, as stated in the content of a signature that was verified before."""
    statement = json.loads(base64.b64decode(json.loads(content)["dsseEnvelope"]["payload"]))
    (resource,) = statement["predicate"]["resources"]
    if resource["algorithm"] != "sha256":
        raise ValueError(f"it signs a {resource['algorithm']}, and a sha256 is expected")
    return str(resource["digest"])


def _public_pem(key: Path, *, private: bool) -> bytes:
    """Return the public key as the content of a PEM file.

    Args:
        key: a PEM file with the public key, or with the private key that belongs to it.
        private: True if the file has the private key.

    Raises:
        ConfigurationError: the file does not contain such a key.
    """
    require("model_signing", "A signature")
    serialization = require("cryptography.hazmat.primitives.serialization", "A signature")
    expected = f"a {'private' if private else 'public'} key of an elliptic curve (P-256, P-384 or P-521) in a PEM file"
    try:
        if not key.is_file() or key.stat().st_size > _LARGEST:
            raise ValueError("no such file")
        content = key.read_bytes()
        public: Any
        if private:
            public = serialization.load_pem_private_key(content, None).public_key()
        else:
            public = serialization.load_pem_public_key(content)
        if getattr(getattr(public, "curve", None), "name", None) not in _CURVES:
            raise ValueError("a key of another kind")
    except (OSError, ValueError, TypeError) as error:  # TypeError: a password is needed
        raise ConfigurationError(
            f"{key} cannot be used: {expected}, without a password, is expected ({error}).",
            hint=f"Next: make a pair of keys: {_MAKE}",
        ) from error
    pem: bytes = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem


def _refused(file: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{file} is refused: {why}.",
        hint="Next: get the file, its signature and the public key again, and the key from another source than the "
        "file.",
    )
