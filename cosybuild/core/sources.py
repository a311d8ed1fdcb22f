"""Files that lie outside of the store, held to the content that was planned with while a step reads them."""

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

from cosybuild.core.artifact import Artifact, StoredFile
from cosybuild.core.digests import Digests, digest_of, digest_of_open, identity_of
from cosybuild.errors import CosybuildError, SourceChanged

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})


class Sources:
    """The sources that one step reads.

    A source belongs to the user, who may replace it at any time. So the step is not given its path, but a
    private name in a working directory: a link to an open descriptor for one file, and copies for several
    files or where the system has no such links. Whatever happens to the path, the step reads what was opened.
    After the step, the file must be the one that was planned with, unwritten, and its content is hashed
    again, before anything of the step is published.

    Args:
        step: the label of the step, for messages.
        digests: the memo, which forgets a file whose content was not what it says.
    """

    def __init__(self, step: str, digests: Digests) -> None:
        self._step = step
        self._digests = digests
        self._open: list[tuple[StoredFile, FileIO]] = []
        self._names: dict[str, str] = {}
        self._closing = ExitStack()

    def __enter__(self) -> Sources:
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.close()

    def lay_out(self, artifact: Artifact, directory: Path) -> Artifact:
        """Give the files of a source private names, side by side.

        Args:
            directory: an empty working directory that outlives the step.

        Returns:
            the artifact with the paths that the step is to read.

        Raises:
            SourceChanged: a file is not the one that was planned with.
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
    def held(self) -> Iterator[None]:
        """Hold the sources to their content for the length of the body, which is the step.

        Raises:
            SourceChanged: a file changed meanwhile; where the body failed, that is its cause.
            CosybuildError: of the body; its text names the files where the user has them.
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
                self._refuse(file, "its content is not the content that the build was planned with")

    def _opened(self, file: StoredFile) -> FileIO:
        try:
            # Without blocking: a FIFO that took the file's place must not hang the build.
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
            self._refuse(file, "its content is not the content that the build was planned with")

    def _compare(self, file: StoredFile, handle: FileIO, cause: BaseException | None = None) -> None:
        """Refuse a file that was written, and a path that leads to another file, by now."""
        try:
            now = identity_of(file.path.stat())
        except OSError as error:
            self._refuse(file, "it was removed" if error.errno in _GONE else "it cannot be read any more", error)
        if not now == identity_of(os.fstat(handle.fileno())) == file.identity:
            self._refuse(file, "it was replaced or written to", cause)

    def _refuse(self, file: StoredFile, what: str, cause: BaseException | None = None) -> NoReturn:
        self._digests.forget(file.path)
        raise SourceChanged(
            f"The file {file.path} changed while the build used it: {what}. The step '{self._step}' reads it, and "
            "nothing of this step was kept.",
            hint="Next: run the same command again when whatever writes the file has finished",
        ) from cause


def _linked(private: Path, handle: FileIO) -> bool:
    """Make `private` a link to the open file; False where the system has no such links."""
    descriptor = f"/proc/{os.getpid()}/fd/{handle.fileno()}"
    try:
        if not os.path.samestat(os.stat(descriptor), os.fstat(handle.fileno())):  # noqa: PTH116 - a text
            return False
        private.symlink_to(descriptor)
    except OSError:
        return False
    return True


def _rename(error: CosybuildError, names: dict[str, str]) -> None:
    """Name the files in an error's text where the user has them."""
    for private, given in names.items():
        error.message = error.message.replace(private, given)
        error.hint = None if error.hint is None else error.hint.replace(private, given)
