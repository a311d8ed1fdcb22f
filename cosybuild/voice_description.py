"""The description of a voice in service: a file that lists the artifacts that belong together. Standard library only.

A model directory has the weights of the flow model and of the vocoder in separate files, so the artifacts alone do not
show that they belong together. A deployment of a whole voice writes the description beside its artifacts. For each
artifact, it has the digest of the file and the seal of the manifest. If one artifact is replaced by one from elsewhere,
this is detected, even if the manifest is replaced too.
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
"""The file name of a description."""
LARGEST = 1 << 20
"""The size of the largest description that is read, in bytes; usual descriptions have a few thousand."""

_FORMAT, _VERSION = "cosybuild.voice", 1
_FIELDS = ("part", "sha256", "manifest")


@dataclass(frozen=True)
class Member:
    """One artifact in the description of a voice.

    Attributes:
        part: the part of the voice that the artifact computes, e.g. `estimator`, for messages.
        sha256: the sha256 of the artifact.
        manifest: the seal of the artifact's manifest.
    """

    part: str
    sha256: str
    manifest: str


@dataclass(frozen=True)
class Description:
    """The description of one voice.

    Attributes:
        family: the CosyVoice version.
        members: name of the file -> the artifact.
    """

    family: str
    members: Mapping[str, Member]

    @property
    def text(self) -> str:
        """The content of the description's file: JSON text with a seal (see `manifest.seal_of`)."""
        artifacts = {
            name: {field: getattr(member, field) for field in _FIELDS} for name, member in sorted(self.members.items())
        }
        plain = {"format": _FORMAT, "version": _VERSION, "family": self.family, "artifacts": artifacts}
        return json.dumps({**plain, "seal": seal_of(plain)}, indent=2) + "\n"


def read_description(path: Path) -> Description | None:
    """Return the description in a file; None if there is no such file.

    Raises:
        ValueError: the file is not a description, has another format version, or does not match its seal.
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
    """Compare the artifacts of a directory in service with the description of the voice.

    Args:
        description: the description.
        manifests: file name -> manifest of each artifact in the directory; None for an artifact without a manifest.

    Returns:
        File name -> reason, for each listed artifact that is missing or is not the listed one.
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
