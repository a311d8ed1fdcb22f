"""The description of a voice in service: the list of the artifacts that belong together. Standard library only.

The weights of the flow and of the vocoder are in separate files of a model directory, so the artifacts alone do not
show that they belong together. A deployment of a whole voice writes this file beside them. It has, for each artifact,
the digest of the file and the seal of its manifest, so an artifact from elsewhere is detected, even with its manifest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.filename import is_plain_name
from cosybuild.manifest import seal_of

DESCRIPTION = "cosybuild.voice.json"
"""The name of the file."""
LARGEST = 1 << 20
"""The size of the largest description that is read, in bytes; real ones have a few thousand."""

_FORMAT, _VERSION = "cosybuild.voice", 1
_FIELDS = ("part", "sha256", "manifest")


@dataclass(frozen=True)
class Member:
    """One artifact of a voice.

    Attributes:
        part: the name of its part, for readers.
        sha256: the digest of its file.
        manifest: the seal of its manifest.
    """

    part: str
    sha256: str
    manifest: str


@dataclass(frozen=True)
class Description:
    """The artifacts of one voice: name of the file -> facts of the artifact."""

    family: str
    members: Mapping[str, Member]

    @property
    def text(self) -> str:
        """The content of the file, with a seal."""
        artifacts = {
            name: {field: getattr(member, field) for field in _FIELDS} for name, member in sorted(self.members.items())
        }
        plain = {"format": _FORMAT, "version": _VERSION, "family": self.family, "artifacts": artifacts}
        return json.dumps({**plain, "seal": seal_of(plain)}, indent=2) + "\n"


def read_description(path: Path) -> Description | None:
    """Return the description in a file, or None if there is no such file.

    Raises:
        ValueError: the file is no description, is of a later version, or does not match its seal.
    """
    try:
        content = path.read_bytes() if path.stat().st_size <= LARGEST and path.is_file() else b""
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror or error}") from error
    try:
        plain = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(plain, dict) or plain.get("format") != _FORMAT:
        raise ValueError(f"{path.name} is not the description of a voice: 'format' should be '{_FORMAT}'")
    if plain.get("version") != _VERSION:
        raise ValueError(f"{path.name} has version {plain.get('version')!a:.20}; this program reads version {_VERSION}")
    if plain.get("seal") != seal_of(plain):
        raise ValueError(f"{path.name} does not match its seal: it was edited or damaged after it was written")
    family, artifacts = plain.get("family"), plain.get("artifacts")
    if not isinstance(family, str) or not isinstance(artifacts, dict) or not artifacts:
        raise ValueError(f"{path.name} is malformed: a family and a list of artifacts are expected")
    return Description(family, {name: _member(path, name, fields) for name, fields in artifacts.items()})


def _member(path: Path, name: str, fields: Any) -> Member:
    is_known = isinstance(fields, dict) and all(isinstance(fields.get(field), str) for field in _FIELDS)
    if not is_plain_name(name) or not is_known:
        raise ValueError(
            f"{path.name} is malformed: {name!a:.60} is {fields!a:.60}; a file's name and digests expected"
        )
    return Member(**{field: fields[field] for field in _FIELDS})


def faults(description: Description, manifests: Mapping[str, Mapping[str, Any] | None]) -> dict[str, str]:
    """Return name -> reason for each artifact that is not the one that the description lists.

    Args:
        manifests: name -> manifest of the artifacts that are there; None for an artifact without one.
    """
    found: dict[str, str] = {}
    for name, member in description.members.items():
        manifest = manifests.get(name)
        if name not in manifests:
            found[name] = f"it is missing, and {DESCRIPTION} lists it"
        elif manifest is None:
            found[name] = f"it has no manifest, and {DESCRIPTION} lists one"
        elif manifest["file"]["sha256"] != member.sha256:
            found[name] = (
                f"it is not the {member.part} of this voice: {DESCRIPTION} lists sha256 {member.sha256[:12]}, and its "
                f"manifest states {manifest['file']['sha256'][:12]}"
            )
        elif manifest.get("seal") != member.manifest:
            found[name] = f"its manifest is not the one that {DESCRIPTION} lists: it was replaced after the deployment"
    return found
