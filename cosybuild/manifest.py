"""Sidecar of an artifact: its identity, its origin and its requirements. Standard library only.

A manifest is sealed: `seal` is a digest of everything else in it, and `file` and `companions` hold the digests of
the files. So an edit of the manifest or of a file is detected. This is integrity, not authenticity: anybody who can
write the file can also compute a new seal; only a signature could prevent that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from stat import S_ISREG
from typing import Any

from cosybuild import figure
from cosybuild.digest import digest_of
from cosybuild.manifest_fields import fault_of_fields, shown

FORMAT = "cosybuild.artifact"
VERSION = 1
SUFFIX = ".manifest.json"
NEXT = ".next"
"""The suffix of a manifest that is about to be put in place. While the file is replaced, either this manifest or the
present one describes it."""
LARGEST = 8 << 20
"""The size of the largest manifest that is read, in bytes; real ones have some kilobytes."""

_SEAL = "seal"
_HEAD = ("format", "version", "file", "companions", _SEAL)


def manifest_path(artifact: Path) -> Path:
    """Return the path of an artifact's manifest, which is beside it and has its name with a suffix."""
    return artifact.with_name(artifact.name + SUFFIX)


def file_fact(path: Path) -> dict[str, str | int]:
    """Return name, size in bytes and sha256 of a file, as manifests state them."""
    return {"name": path.name, "size": path.stat().st_size, "sha256": digest_of(path)}


def manifest_text(file: Mapping[str, Any], companions: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """Return the text of a manifest, including its seal (the digest of all other fields, see `seal_of`).

    Args:
        file, companions: results of `file_fact`; companions are files that the artifact refers to by name.
        facts: plain JSON data such as `model`, `interface` and `verified`, for engines also `built_for`; see
            docs/runtimes.md.
    """
    head = {"format": FORMAT, "version": VERSION, "file": dict(file), "companions": [dict(c) for c in companions]}
    rest = {name: value for name, value in facts.items() if name not in _HEAD}
    # The seal covers what a reader sees: in JSON a tuple is a list, and a path is its text.
    plain = json.loads(figure.dumps({**head, **rest}, default=str))
    return json.dumps({**plain, _SEAL: seal_of(plain)}, indent=2, ensure_ascii=False) + "\n"


def seal_of(manifest: Mapping[str, Any]) -> str:
    """Return the sha256 of a manifest without its seal, independent of the order of its fields and of white space."""
    rest = {name: value for name, value in manifest.items() if name != _SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def write_manifest(artifact: Path, facts: Mapping[str, Any], companions: Sequence[Path] = ()) -> Path:
    """Write the manifest of a finished file that is not published yet; return the manifest's path."""
    path = manifest_path(artifact)
    text = manifest_text(file_fact(artifact), [file_fact(each) for each in companions], facts)
    # A path may contain bytes that are no UTF-8; they must not prevent writing the manifest.
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


def read_manifest(artifact: Path) -> dict[str, Any] | None:
    """Return the manifest beside a file, or None if there is none.

    Raises:
        ValueError: see `read_manifest_file`.
    """
    return read_manifest_file(manifest_path(artifact))


def read_manifest_file(path: Path) -> dict[str, Any] | None:
    """Return the manifest in a file of any name, or None if there is no such file.

    Raises:
        ValueError: it is no manifest, is of a later version, is malformed, or does not match its seal.
    """
    manifest = parse_manifest(path)
    if manifest is None:
        return None
    if _SEAL not in manifest:
        raise ValueError(
            f"{path} has no seal: an earlier version of cosybuild wrote it, or somebody edited it. "
            "Run the same build again and deploy it again; both write sealed manifests"
        )
    if manifest[_SEAL] != seal_of(manifest):
        raise ValueError(f"{path} does not match its seal: it was edited or damaged after it was written")
    return manifest


def parse_manifest(path: Path) -> dict[str, Any] | None:
    """Read a manifest without checking its seal, for manifests that the store's digests protect.

    Raises:
        ValueError: it is no manifest, is of a later version, or is malformed.
    """
    try:
        state = path.stat()
        is_plausible = S_ISREG(state.st_mode) and state.st_size <= LARGEST
        content = path.read_bytes() if is_plausible else b""
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    if not is_plausible:
        raise ValueError(f"{path} is not a manifest: a regular file of at most {LARGEST} bytes is expected")
    try:
        manifest = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not JSON: it is not UTF-8 at byte {error.start}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{path} is not a manifest: it is nested too deeply") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{path} is not a manifest of an artifact: 'format' should be '{FORMAT}'")
    if manifest.get("version") != VERSION:
        raise ValueError(f"{path} has version {shown(manifest.get('version'))}; this program reads version {VERSION}")
    fault = fault_of_fields(manifest)
    if fault is not None:
        raise ValueError(f"{path} is malformed: {fault}")
    return manifest


def fitting_manifest(artifact: Path) -> dict[str, Any] | None:
    """Return the manifest that describes the file's present content, else any manifest beside it, else None.

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
    """Describe in one phrase how the files differ from the manifest; return None if they do not."""
    for fact in (manifest["file"], *manifest["companions"]):
        # A deployed file may have another name than it was built under, but its companions keep their names.
        path = artifact if fact is manifest["file"] else artifact.with_name(fact["name"])
        if not path.is_file():
            return f"{path.name} is missing"
        size = path.stat().st_size
        if size != fact["size"]:
            return f"{path.name} has {size} bytes but {fact['size']} in its manifest: it was truncated or replaced"
        if digest_of(path) != fact["sha256"]:
            return f"{path.name} is not the file that its manifest describes: it was replaced or damaged"
    return None
