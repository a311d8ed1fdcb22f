"""The manifest of an artifact: a JSON file beside it with its identity, origin and requirements. Standard library only.

A manifest is sealed. Its field `seal` is a digest of all other fields, and the fields `file` and `companions` have the
digests of the files. An edit of the manifest or of a file is therefore detected. This shows damage, not forgery:
anybody who can write the file can also compute a new seal. Only a signature (`cosybuild.signing`) shows forgery.
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
"""The further suffix of a new manifest while a deployment replaces its artifact.

During the replacement, either the new or the old manifest describes the artifact.
"""
LARGEST = 8 << 20
"""The size of the largest manifest that is read, in bytes; usual manifests have a few thousand."""

_SEAL = "seal"
_HEAD = ("format", "version", "file", "companions", _SEAL)


def manifest_path(artifact: Path) -> Path:
    """Return the path of an artifact's manifest, e.g. `model.onnx.manifest.json` for `model.onnx`."""
    return artifact.with_name(artifact.name + SUFFIX)


def file_fact(path: Path) -> dict[str, str | int]:
    """Return the fields `name`, `size` (in bytes) and `sha256` with which a manifest describes a file."""
    return {"name": path.name, "size": path.stat().st_size, "sha256": digest_of(path)}


def manifest_text(file: Mapping[str, Any], companions: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """Return the text of a manifest, with its seal.

    Args:
        file: the result of `file_fact` for the artifact.
        companions: the results of `file_fact` for the files that the artifact refers to by name, e.g. external data.
        facts: all other fields as JSON data, such as `model`, `interface`, `verified`, and `built_for` for an engine;
            see docs/runtimes.md.
    """
    head = {"format": FORMAT, "version": VERSION, "file": dict(file), "companions": [dict(c) for c in companions]}
    rest = {name: value for name, value in facts.items() if name not in _HEAD}
    # The seal is computed from the data as a reader gets it: in JSON, a tuple is a list, and a path is a text.
    plain = json.loads(figure.dumps({**head, **rest}, default=str))
    return json.dumps({**plain, _SEAL: seal_of(plain)}, indent=2, ensure_ascii=False) + "\n"


def seal_of(manifest: Mapping[str, Any]) -> str:
    """Return the seal of a manifest: the sha256 of all its other fields, for any order of fields and white space."""
    rest = {name: value for name, value in manifest.items() if name != _SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def write_manifest(artifact: Path, facts: Mapping[str, Any], companions: Sequence[Path] = ()) -> Path:
    """Write the manifest of an artifact and return the manifest's path. The write is not atomic.

    Args:
        artifact: the finished file, in a directory that no reader uses yet.
        facts: see `manifest_text`.
        companions: the files that the artifact refers to by name.
    """
    path = manifest_path(artifact)
    text = manifest_text(file_fact(artifact), [file_fact(each) for each in companions], facts)
    # A path in the facts may contain bytes that are not UTF-8. They become escapes.
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


def read_manifest(artifact: Path) -> dict[str, Any] | None:
    """Return the manifest of an artifact, with its seal checked; None if there is no manifest.

    Raises:
        ValueError: see `read_manifest_file`.
    """
    return read_manifest_file(manifest_path(artifact))


def read_manifest_file(path: Path) -> dict[str, Any] | None:
    """Return the manifest in the file `path`, with its seal checked; None if there is no such file.

    Raises:
        ValueError: the file is not a manifest, has another format version, is malformed, or does not match its seal.
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
    """Return the manifest in the file `path` without checking its seal; None if there is no such file.

    Use it only for manifests in the store, whose content the store checks by digest.

    Raises:
        ValueError: the file is not a manifest, has another format version, or is malformed.
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
    """Return the manifest that describes the present content of an artifact.

    This is the usual manifest, or the one with the further suffix `NEXT` while a deployment replaces the artifact. If
    neither describes the content, the usual manifest is returned, or None if there is none.

    Raises:
        ValueError: see `read_manifest`.
    """
    manifest = read_manifest(artifact)
    if manifest is not None and damage(artifact, manifest) is None:
        return manifest
    coming = read_manifest_file(artifact.with_name(artifact.name + SUFFIX + NEXT))
    return coming if coming is not None and damage(artifact, coming) is None else manifest


def damage(artifact: Path, manifest: Mapping[str, Any]) -> str | None:
    """Compare an artifact and its companions with a manifest, and return the first difference as a clause, or None.

    The files are hashed, which takes time for large ones.
    """
    for fact in (manifest["file"], *manifest["companions"]):
        # A deployment may rename the artifact, but not its companions.
        path = artifact if fact is manifest["file"] else artifact.with_name(fact["name"])
        if not path.is_file():
            return f"{path.name} is missing"
        size = path.stat().st_size
        if size != fact["size"]:
            return f"{path.name} has {size} bytes but {fact['size']} in its manifest: it was truncated or replaced"
        if digest_of(path) != fact["sha256"]:
            return f"{path.name} is not the file that its manifest describes: it was replaced or damaged"
    return None
