"""The files that a deployment will put in place, first written into its staging directory."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cosybuild.digest import digest_of
from cosybuild.errors import DeployError
from cosybuild.system.files import sync_tree


@dataclass(frozen=True)
class Put:
    """A file to write into a directory in service.

    Attributes:
        name: the path below the directory, with forward slashes.
        content: the path of a file to copy, or the text itself.
        sha256: the sha256 of a file to copy; None if it is not known before the copy.
        link: make a hard link instead of a copy. This is for files of backups, which then need no further space.
    """

    name: str
    content: Path | str
    sha256: str | None = None
    link: bool = False

    @property
    def digest(self) -> str | None:
        """The sha256 of the content; None if it is not known before the copy."""
        if isinstance(self.content, str):
            return hashlib.sha256(self.content.encode("utf-8", "backslashreplace")).hexdigest()
        return self.sha256


def stage_all(puts: Sequence[Put], staging: Path) -> dict[str, str]:
    """Write all files durably into the staging directory and return name -> sha256.

    Raises:
        DeployError: see `stage_one`.
    """
    digests = {put.name: stage_one(put, staging / put.name) for put in puts}
    staging.mkdir(exist_ok=True)
    sync_tree(staging)
    return digests


def stage_one(put: Put, target: Path) -> str:
    """Write one file into a staging directory and return its sha256.

    Args:
        put: the file.
        target: the path to write to.

    Raises:
        DeployError: the copy is not equal to its source.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(put.content, str):
        target.write_text(put.content, encoding="utf-8", errors="backslashreplace")
    elif put.link:
        link_or_copy(put.content, target)
    else:
        # Copy, never link: a service may write into its files, and the source may be linked to the store.
        shutil.copyfile(put.content, target)
    digest = digest_of(target)
    if put.sha256 not in (None, digest):
        raise DeployError(
            f"the copy of {put.content} differs from it; the disk or another program changed it.",
            hint="Next: run the same build again; the files in service did not change.",
        )
    return digest


def link_or_copy(source: Path, target: Path) -> None:
    """Make a hard link to a file, or a copy if the file system does not support hard links."""
    try:
        # A link takes no space and is safe here: cosybuild replaces files in service by renames and never writes into
        # them.
        os.link(source.resolve(), target)
    except OSError:
        shutil.copy2(source, target)
