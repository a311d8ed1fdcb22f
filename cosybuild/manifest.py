"""The sidecar of an artifact: what it is, what it was made from, what it needs. Standard library only."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FORMAT = "cosybuild.artifact"
VERSION = 1
SUFFIX = ".manifest.json"
NEXT = ".next"
"""Ends the name of a manifest that is about to take its place: while a file is replaced, one of the two fits."""

_HEAD = ("format", "version", "file", "companions")


def manifest_path(artifact: Path) -> Path:
    """Where an artifact's manifest lies: beside it, its name with a suffix."""
    return artifact.with_name(artifact.name + SUFFIX)


def file_fact(path: Path) -> dict[str, Any]:
    """Name, size and sha256 of a file, as manifests state them."""
    return {"name": path.name, "size": path.stat().st_size, "sha256": file_digest(path)}


def manifest_text(file: Mapping[str, Any], companions: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """The text of a manifest.

    Args:
        file, companions: as `file_fact` gives them; companions are files that the first refers to by name.
        facts: plain JSON data: `model`, `interface`, `verified`, for engines `built_for` ... (docs/runtimes.md).
    """
    head = {"format": FORMAT, "version": VERSION, "file": dict(file), "companions": [dict(c) for c in companions]}
    rest = {name: value for name, value in facts.items() if name not in _HEAD}
    return json.dumps({**head, **rest}, indent=2, ensure_ascii=False, default=str) + "\n"


def write_manifest(artifact: Path, facts: Mapping[str, Any], companions: Sequence[Path] = ()) -> Path:
    """Write the manifest of a finished file and return its path; a reader sees the old one or the new one."""
    path = manifest_path(artifact)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    text = manifest_text(file_fact(artifact), [file_fact(each) for each in companions], facts)
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
    return path


def read_manifest(artifact: Path) -> dict[str, Any] | None:
    """The manifest beside a file, or None where there is none.

    Raises:
        ValueError: see `read_manifest_file`.
    """
    return read_manifest_file(manifest_path(artifact))


def read_manifest_file(path: Path) -> dict[str, Any] | None:
    """The manifest in a file of any name, or None where there is no such file.

    Raises:
        ValueError: it is no manifest, or of a later version.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{path} is no manifest of an artifact: 'format' is expected to be '{FORMAT}'")
    if manifest.get("version") != VERSION:
        raise ValueError(f"{path} has version {manifest.get('version')!r}; this program reads version {VERSION}")
    return manifest


def fitting_manifest(artifact: Path) -> dict[str, Any] | None:
    """The manifest that describes the file's present content, else the one beside it, else None.

    The two differ only while a deployment replaces the file.

    Raises:
        ValueError: see `read_manifest`.
    """
    manifest = read_manifest(artifact)
    if manifest is not None and damage(artifact, manifest) is None:
        return manifest
    coming = read_manifest_file(artifact.with_name(artifact.name + SUFFIX + NEXT))
    return coming if coming is not None and damage(artifact, coming) is None else manifest


def damage(artifact: Path, manifest: Mapping[str, Any]) -> str | None:
    """Why the files are not those that the manifest describes, in one phrase; None where they are."""
    for fact in (manifest["file"], *manifest["companions"]):
        # A deployed file may have another name than it was built under; its companions never have.
        path = artifact if fact is manifest["file"] else artifact.with_name(fact["name"])
        if not path.is_file():
            return f"{path.name} is not there"
        size = path.stat().st_size
        if size != fact["size"]:
            return f"{path.name} has {size} bytes and its manifest says {fact['size']}: it was cut off or replaced"
        if file_digest(path) != fact["sha256"]:
            return f"{path.name} is not the file its manifest describes: it was replaced or damaged"
    return None


def file_digest(path: Path) -> str:
    """sha256 of a file's content, 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
