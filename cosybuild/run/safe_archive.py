"""The .tar.gz format of bundles and failure archives: the bytes are reproducible, and a reader checks every file.

The archive has regular files only. Its first member is an index, {"schema", "kind", ..., "files": {path: {"sha256",
"size"}}}. Only files in the index are unpacked, below one directory, and the size and digest of each are checked. A
digest shows that a file is complete; it does not show who sent it.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any, TypeVar

from msgspec import Meta

from cosybuild import figure
from cosybuild.digest import digest_of, digest_of_open
from cosybuild.errors import ConfigurationError
from cosybuild.filename import is_plain_path
from cosybuild.system.files import NotRegular, open_regular, replacing
from cosybuild.system.json_records import SCHEMA, read_json
from cosybuild.system.typed_json import from_json

T = TypeVar("T")

_BLOCK = 2**20
_INDEX_LIMIT = 16 * 2**20
_HEADER_LIMIT = 64 * 2**10

# The exceptions that a damaged or hostile archive causes. tarfile does not convert the errors of its decoders.
_UNREADABLE = (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, UnicodeError, RecursionError)


@dataclass(frozen=True)
class Form:
    """One kind of archive, such as a bundle.

    Attributes:
        kind: the value of the field `kind` in its index.
        index: the name of the first member, which is the index.
        roots: the top directories of all other members.
        again: the next step for the user if an archive is refused.
    """

    kind: str
    index: str
    roots: tuple[str, ...]
    again: str

    def refused(self, source: Path, why: str) -> ConfigurationError:
        return ConfigurationError(f"{source} is refused: {why}.", hint=f"Next: {self.again}.")


def pack(form: Form, target: Path, facts: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """Write an archive. The same facts and files always give the same bytes.

    Args:
        form: the kind of archive.
        target: the file to write.
        facts: the fields of the index, besides `schema`, `kind` and `files`.
        files: name in the archive -> path of the file.

    Raises:
        ConfigurationError: `unpack_archive` would refuse one of the names.
    """
    for name in files:
        if not _is_inside(form, name):
            raise ConfigurationError(
                f"{name!a} cannot be a member of this archive: every part of the path must be a plain file name.",
                hint="Next: rename the file, or remove it from the run directory",
            )
    listed = {name: {"sha256": digest_of(path), "size": path.stat().st_size} for name, path in sorted(files.items())}
    index = {"schema": SCHEMA, "kind": form.kind, **facts, "files": listed}
    with tempfile.TemporaryDirectory(prefix="cosybuild-pack-") as temporary:
        written = Path(temporary) / form.index
        written.write_text(figure.dumps(index, indent=1), encoding="utf-8")
        with (
            replacing(target, durable=False) as raw,
            gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for name, path in [(form.index, written), *sorted(files.items())]:
                _add(archive, name, path)


@dataclass(frozen=True)
class Bounds:
    """The limits for the unpacked size of an archive, in bytes.

    Attributes:
        always: the unpacked size that is allowed for any archive.
        ratio: a larger unpacked size is allowed up to this multiple of the archive's size. Weights hardly compress, so
            real archives unpack to less than three times their size.
        most: the largest unpacked size of any archive.
    """

    always: int = 256 * 2**20
    ratio: int = 20
    most: int = 64 * 2**30

    def limit(self, packed: int) -> int:
        """Return the largest allowed unpacked size for an archive of `packed` bytes, in bytes."""
        return min(self.most, max(self.always, self.ratio * packed))


class _Member(tarfile.TarInfo):
    """A member whose extended header is limited in size, because tarfile reads a header of any size into memory."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        # tarfile documents this method as the one to override.
        if self.type not in tarfile.REGULAR_TYPES and self.size > _HEADER_LIMIT:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        found: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]  # typeshed leaves it out
        return found


@dataclass(frozen=True)
class _Listed:
    sha256: str
    size: Annotated[int, Meta(ge=0)]


@dataclass(frozen=True)
class _Index:
    kind: str
    schema: int
    files: Mapping[str, _Listed]


class Package:
    """An open archive. The index is read when the object is made; `unpack` then reads each member once.

    Args:
        form: the kind of archive.
        source: the path of the archive, for errors.
        archive: the open tar file, at its start.
        limit: the largest allowed unpacked size in bytes.
    """

    def __init__(self, form: Form, source: Path, archive: tarfile.TarFile, limit: int) -> None:
        self._form = form
        self._source = source
        self._archive = archive
        self._where = f"{source}: {form.index}"
        self._index = self._read_index()
        head = self.index(_Index)
        if (head.kind, head.schema) != (form.kind, SCHEMA):
            raise self.refused(f"it is a {head.kind!a} of schema {head.schema}, not of {SCHEMA}")
        self.files = head.files
        self._check_files(limit)

    def index(self, kind: type[T]) -> T:
        """Return the index as a value of the type `kind`.

        Raises:
            ConfigurationError: a field is missing or has another type.
        """
        return from_json(self._index, kind, self._where)

    def unpack(self, place: Path, is_wanted: Callable[[str], bool] = lambda name: True) -> None:
        """Write the wanted members below a directory, and check all members.

        Args:
            place: the directory.
            is_wanted: returns True for the name of a member that is written; by default, all members are written.

        Raises:
            ConfigurationError: a member is missing, is not in the index, is not a regular file, or does not match its
                size and digest.
        """
        wanted = dict(self.files)
        while (member := self._archive.next()) is not None:
            listed = wanted.pop(member.name, None)
            if listed is None:
                raise self.refused(f"its member {member.name!a} is not listed in {self._form.index}, or occurs twice")
            if not _is_plain_file(member):
                raise self.refused(
                    f"its member {member.name!a} has a path outside the archive or is not a regular file"
                )
            content = self._archive.extractfile(member)
            if content is None:
                raise self.refused(f"its member {member.name!a} has no content")
            target = None
            if is_wanted(member.name):
                target = place / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
            self._copy_checked(member.name, content, target, listed)
        if wanted:
            raise self.refused(f"it lacks {next(iter(wanted))!a}")

    def refused(self, why: str) -> ConfigurationError:
        """Return the error for an archive that is refused, with the reason `why`."""
        return self._form.refused(self._source, why)

    def _read_index(self) -> Any:
        name = self._form.index
        first = self._archive.next()
        if first is None or first.name != name or not _is_plain_file(first) or first.size > _INDEX_LIMIT:
            raise self.refused(f"its first member is not {name}")
        content = self._archive.extractfile(first)
        try:
            return read_json(b"" if content is None else content.read())
        except ValueError as error:
            raise self.refused(f"{name} is not JSON: {error}") from error

    def _check_files(self, limit: int) -> None:
        total, seen = 0, {name.casefold() for name in self.files}
        if len(seen) < len(self.files):
            raise self.refused("two of its members have names that differ only in upper and lower case")
        for name, listed in self.files.items():
            if not _is_inside(self._form, name):
                raise self.refused(f"its member {name!a} has a path outside the archive or is not a regular file")
            above = [str(parent).casefold() for parent in PurePosixPath(name).parents]
            if below := next((parent for parent in above if parent in seen), None):
                raise self.refused(f"its member {name!a} is below another member, {below!a}")
            total += listed.size
        if total > limit:
            raise self.refused(
                f"it unpacks to {total:,} bytes, but an archive of its size may unpack to {limit:,} (--max-size "
                "allows more)"
            )

    def _copy_checked(self, name: str, content: IO[bytes], target: Path | None, listed: _Listed) -> None:
        digest, size = hashlib.sha256(), 0
        with target.open("xb") if target is not None else nullcontext() as local:
            while size <= listed.size and (block := content.read(_BLOCK)):
                digest.update(block)
                size += len(block)
                if local is not None:
                    local.write(block)
        if (size, digest.hexdigest()) != (listed.size, listed.sha256):
            raise self.refused(f"{name!a} does not match its size and digest in {self._form.index}")


@contextmanager
def open_archive(
    form: Form, source: Path, bounds: Bounds, expected: str | None = None
) -> Iterator[tuple[Package, str]]:
    """Yield an open archive whose index is checked, and the sha256 of the archive.

    Args:
        form: the expected kind of archive.
        source: the path of the archive.
        bounds: the limits for its unpacked size.
        expected: the sha256 in the signature of the archive; None if there is no signature to check.

    Raises:
        ConfigurationError: the file is not an archive of this kind, is damaged or too large, has another sha256, or has
            members with paths outside the archive.
    """
    try:
        with open_regular(source) as raw:
            digest = digest_of_open(raw)
            if expected is not None and digest != expected:
                raise form.refused(source, "it changed after its signature was verified")
            size = raw.tell()
            raw.seek(0)
            with tarfile.open(fileobj=raw, mode="r:gz", tarinfo=_Member) as archive:
                yield Package(form, source, archive, bounds.limit(size)), digest
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        if error.filename != str(source):
            raise
        raise ConfigurationError(
            f"{source} cannot be read: {error.strerror}.", hint="Next: correct the path."
        ) from error
    except NotRegular as error:
        raise form.refused(source, "it is not a regular file") from error
    except _UNREADABLE as error:
        raise form.refused(source, f"it cannot be read: {error}") from error


@contextmanager
def unpack_archive(form: Form, source: Path, bounds: Bounds, index: type[T]) -> Iterator[tuple[Path, T]]:
    """Yield a temporary directory with the checked files of an archive, and the index of the archive.

    Args:
        form: the expected kind of archive.
        source: the path of the archive.
        bounds: the limits for its unpacked size.
        index: the type to which the index is converted.

    Raises:
        ConfigurationError: see `open_archive` and `Package.unpack`.
    """
    with (
        open_archive(form, source, bounds) as (package, _),
        tempfile.TemporaryDirectory(prefix="cosybuild-unpacked-") as temporary,
    ):
        package.unpack(Path(temporary))
        yield Path(temporary), package.index(index)


def _is_plain_file(member: tarfile.TarInfo) -> bool:
    return member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()


def _is_inside(form: Form, name: str) -> bool:
    """Return True if a member's name is a path below one of the archive's directories.

    The name must be such a path on every operating system, because the archive may be unpacked on any of them.
    """
    root, slash, _ = name.partition("/")
    return is_plain_path(name) and root in form.roots and slash == "/"


def _add(archive: tarfile.TarFile, name: str, path: Path) -> None:
    member = tarfile.TarInfo(name)  # without owner and time, so that the same run gives the same bytes
    member.size, member.mode = path.stat().st_size, 0o644
    with path.open("rb") as content:
        archive.addfile(member, content)
