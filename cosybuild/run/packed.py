"""Archives that are handed on: written the same each time, and not believed when they arrive.

A plain .tar.gz of regular files. Its first member is an index, {"schema", "kind", ..., "files": {path: {"sha256",
"size"}}}; only what the index lists is unpacked, each file against its size and digest, below a directory of its own.
A digest says that a file arrived whole, not who sent it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cosybuild import figure
from cosybuild.core.plain import SCHEMA, Plain
from cosybuild.errors import ConfigurationError
from cosybuild.filename import is_plain_path

_BLOCK = 2**20
_INDEX_LIMIT = 64 * 2**20


@dataclass(frozen=True)
class Form:
    """One kind of archive.

    Attributes:
        kind: what its index says it is.
        index: the first member's name.
        roots: top directories of all other members.
        again: what to do where one is refused.
    """

    kind: str
    index: str
    roots: tuple[str, ...]
    again: str

    def refused(self, source: Path, why: str) -> ConfigurationError:
        return ConfigurationError(f"{source} is not taken in: {why}.", hint=f"Next: {self.again}.")


def pack(form: Form, target: Path, facts: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """Write an archive; the same facts and files give the same bytes.

    Args:
        facts: further fields of the index.
        files: name in the archive -> file.

    Raises:
        ConfigurationError: a name would be refused by `unpacked`.
    """
    for name in files:
        if not _is_inside(form, name):
            raise ConfigurationError(
                f"{name!a} cannot be handed on in a {form.kind}: every part of it must be a plain file name.",
                hint="Next: rename the file, or remove it from the run directory",
            )
    listed = {name: {"sha256": digest_of(path), "size": path.stat().st_size} for name, path in files.items()}
    index = {"schema": SCHEMA, "kind": form.kind, **facts, "files": listed}
    with tempfile.TemporaryDirectory(prefix="cosybuild-pack-") as temporary:
        written = Path(temporary) / form.index
        written.write_text(figure.dumps(index, indent=1), encoding="utf-8")
        part = target.with_name(f".{target.name}.part")
        with (
            part.open("wb") as raw,
            gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for name, path in [(form.index, written), *sorted(files.items())]:
                _add(archive, name, path)
        part.replace(target)


@contextmanager
def unpacked(form: Form, source: Path) -> Iterator[tuple[Path, Plain]]:
    """A directory with what the archive lists, every file checked, and the index; gone afterwards.

    Raises:
        ConfigurationError: it is no archive of this kind, damaged, or has members that would leave their place.
    """
    with tempfile.TemporaryDirectory(prefix="cosybuild-import-") as temporary:
        place = Path(temporary)
        try:
            with tarfile.open(source, "r:gz") as archive:
                yield place, _unpack(form, archive, source, place)
        except FileNotFoundError as error:
            if error.filename != str(source):
                raise
            raise ConfigurationError(f"{source} does not exist.", hint="Next: correct the path.") from error
        except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
            raise form.refused(source, f"it cannot be read: {error}") from error


def _unpack(form: Form, archive: tarfile.TarFile, source: Path, place: Path) -> Plain:
    first = archive.next()
    if first is None or first.name != form.index or not first.isfile() or first.size > _INDEX_LIMIT:
        raise form.refused(source, f"its first member is not {form.index}")
    content = archive.extractfile(first)
    assert content is not None, "a regular file has content"
    try:
        index = Plain(json.loads(content.read()), f"{source}: {form.index}")
    except ValueError as error:
        raise form.refused(source, f"{form.index} is no JSON: {error}") from error
    if index.text("kind") != form.kind or index.get("schema", int) != SCHEMA:
        raise form.refused(
            source, f"it is a {index.text('kind')} of schema {index.get('schema', int)}, not of {SCHEMA}"
        )
    wanted = dict(index.object("files").items())
    while (member := archive.next()) is not None:
        listed = wanted.pop(member.name, None)
        if listed is None:
            raise form.refused(source, f"its member {member.name!r} is not listed in {form.index}, or comes twice")
        if not member.isfile() or not _is_inside(form, member.name):
            raise form.refused(source, f"its member {member.name!r} would leave its place or is no regular file")
        content = archive.extractfile(member)
        assert content is not None, "a regular file has content"
        target = place / member.name
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy_checked(form, content, target, listed, source)
    if wanted:
        raise form.refused(source, f"it lacks {next(iter(wanted))!r}")
    return index


def _copy_checked(form: Form, content: IO[bytes], target: Path, listed: Plain, source: Path) -> None:
    digest, size, expected = hashlib.sha256(), 0, listed.get("size", int)
    with target.open("xb") as local:
        while size <= expected and (block := content.read(_BLOCK)):
            digest.update(block)
            size += len(block)
            local.write(block)
    if (size, digest.hexdigest()) != (expected, listed.text("sha256")):
        raise form.refused(source, f"{target.name} has other content than {form.index} says")


def _is_inside(form: Form, name: str) -> bool:
    """Say whether a member's name stays below the directory it is unpacked in, on any system."""
    root, slash, _ = name.partition("/")
    return is_plain_path(name) and root in form.roots and slash == "/"


def digest_of(path: Path) -> str:
    """sha256 of a file, 64 hex digits."""
    with path.open("rb") as content:
        digest = hashlib.sha256()
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _add(archive: tarfile.TarFile, name: str, path: Path) -> None:
    member = tarfile.TarInfo(name)  # no owner, no time, one mode: the same run gives the same bytes
    member.size, member.mode = path.stat().st_size, 0o644
    with path.open("rb") as content:
        archive.addfile(member, content)
