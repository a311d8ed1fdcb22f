"""Source files of the user. While a step reads them, they must keep the content on which the plan is based."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import NoReturn

from cosybuild.digest import digest_of, digest_of_open
from cosybuild.errors import CosybuildError, SourceChanged
from cosybuild.store.artifact import Artifact, StoredFile
from cosybuild.store.hash_cache import HashCache, identity_of

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})


class Sources:
    """The source files that one step reads.

    A source file belongs to the user, who may replace it at any time. So the step does not receive its path, but a
    private path in a working directory. For one file, this is a link to an open descriptor; for several files, and on
    systems without such links, the files are copied. The step reads the opened file even if the user's path changes.
    After the step, and before its results are published, the user's path must still lead to the same, unchanged file,
    and the content is hashed again.

    Args:
        step: the label of the step, for messages.
        digests: the digest cache. The digest of a file that changed is removed from it.
    """

    def __init__(self, step: str, digests: HashCache) -> None:
        self._step = step
        self._digests = digests
        self._open: list[tuple[StoredFile, FileIO]] = []
        self._names: dict[str, str] = {}
        self._closing = ExitStack()

    def __enter__(self) -> Sources:
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.close()

    def checkout(self, artifact: Artifact, directory: Path) -> Artifact:
        """Give the files of a source private paths in one directory.

        Args:
            artifact: the source.
            directory: an empty working directory that exists longer than the step runs.

        Returns:
            The artifact with the paths that the step reads.

        Raises:
            SourceChanged: a file is not the one on which the plan is based.
            OSError: a file cannot be read, or a copy cannot be written.
        """
        placed = []
        for file in artifact.files:
            private = directory / file.name
            self._names[str(private)] = str(file.path)
            handle = self._opened(file)
            if len(artifact.files) > 1 or not _linked(private, handle):
                self._copy(file, handle, private)
            placed.append(replace(file, path=private))
        return replace(artifact, files=tuple(placed))

    @contextmanager
    def checked(self) -> Iterator[None]:
        """Check at the end of the `with` block, which runs the step, that the sources did not change.

        Raises:
            SourceChanged: a file changed during the block. It replaces an error that the block raised.
            CosybuildError: the error that the block raised, with the user's paths in place of the private ones.
        """
        try:
            yield
        except Exception as error:
            for file, handle in self._open:
                self._compare(file, handle, error)
            if isinstance(error, CosybuildError):
                _rename(error, self._names)
            raise
        for file, handle in self._open:
            self._compare(file, handle)
            handle.seek(0)
            if digest_of_open(handle) != file.digest:
                self._refuse(file, "its content is not the planned content")

    def _opened(self, file: StoredFile) -> FileIO:
        try:
            # Do not block: a FIFO in place of the file must not hang the build.
            number = os.open(file.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            if error.errno in _GONE:
                self._refuse(file, "it was removed", error)
            raise
        handle = self._closing.enter_context(FileIO(number, "rb"))
        self._compare(file, handle)
        self._open.append((file, handle))
        return handle

    def _copy(self, file: StoredFile, handle: FileIO, private: Path) -> None:
        with private.open("xb") as copy:
            shutil.copyfileobj(handle, copy, 2**20)
        if digest_of(private) != file.digest:
            self._refuse(file, "its content is not the planned content")

    def _compare(self, file: StoredFile, handle: FileIO, cause: BaseException | None = None) -> None:
        """Raise an error if the file was written since planning, or if its path leads to another file."""
        try:
            now = identity_of(file.path.stat())
        except OSError as error:
            self._refuse(file, "it was removed" if error.errno in _GONE else "it cannot be read any more", error)
        if not now == identity_of(os.fstat(handle.fileno())) == file.identity:
            self._refuse(file, "it was replaced or written to", cause)

    def _refuse(self, file: StoredFile, what: str, cause: BaseException | None = None) -> NoReturn:
        self._digests.forget(file.path)
        raise SourceChanged(
            f"The file {file.path} changed while the build used it: {what}. The step '{self._step}' reads it, so the "
            "result of this step was not kept.",
            hint="Next: run the same command again when the file is complete",
        ) from cause


def _linked(private: Path, handle: FileIO) -> bool:
    """Make `private` a symbolic link to the open file; return False if the system does not support such links."""
    descriptor = f"/proc/{os.getpid()}/fd/{handle.fileno()}"
    try:
        if not os.path.samestat(os.stat(descriptor), os.fstat(handle.fileno())):  # noqa: PTH116 - a text
            return False
        private.symlink_to(descriptor)
    except OSError:
        return False
    return True


def _rename(error: CosybuildError, names: dict[str, str]) -> None:
    """Replace the private paths in the text of an error by the user's paths."""
    for private, given in names.items():
        error.message = error.message.replace(private, given)
        error.hint = None if error.hint is None else error.hint.replace(private, given)
