"""Key pairs for tests of signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write_pair(
    directory: Path, name: str = "key", private: Any = None, password: bytes | None = None
) -> tuple[Path, Path]:
    """Write a private and a public key as PEM files; by default a new P-256 key."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    key = private or ec.generate_private_key(ec.SECP256R1())
    locked = form.NoEncryption() if password is None else form.BestAvailableEncryption(password)
    secret, public = directory / f"{name}.pem", directory / f"{name}.pub"
    secret.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, locked))
    public.write_bytes(key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo))
    return secret, public
