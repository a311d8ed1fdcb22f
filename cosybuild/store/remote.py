"""The remote store, reached through fsspec. Nothing from it is trusted: entries and files are checked on arrival."""

from __future__ import annotations

import hashlib
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from cosybuild.errors import MissingRequirement, StoreError
from cosybuild.lazy import require
from cosybuild.store.artifact import StoredFile
from cosybuild.store.entry import SIZE_LIMIT, DamagedEntry, Entry, check_stage, decode, encode
from cosybuild.store.key import CacheKey
from cosybuild.store.objects import Objects
from cosybuild.system.files import convert_disk_errors
from cosybuild.system.timeout import within

_BLOCK = 2**20
PATIENCE_SECONDS = 300.0
"""The longest wait for one block or one answer, in seconds. Clients of object stores have much shorter limits."""

# In an object store, an upload becomes visible only when it is complete. Elsewhere it gets a temporary name first.
_ATOMIC = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "memory"})
# s3fs makes five attempts. With five attempts of botocore in each, a server that does not answer took over 6 minutes.
_PATIENCE = {"config_kwargs": {"retries": {"max_attempts": 1}}}
_DEFAULTS: dict[str, dict[str, Any]] = {"s3": _PATIENCE, "s3a": _PATIENCE}
_NEEDS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}

# Exceptions of clients, besides OSError, for a server that is unreachable or refuses. fsspec promises no common
# base class. A class of a module that is not loaded cannot have been raised.
_FAILURES = (
    ("asyncio", "TimeoutError"),
    ("fsspec.exceptions", "FSTimeoutError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("azure.core.exceptions", "AzureError"),
)


class Remote:
    """A directory or bucket at an fsspec URL. It is not opened before its first use, and nothing is imported before.

    After the first failure to reach it, one warning is given, and this process does not use the remote again.

    Args:
        url: the URL, e.g. `s3://bucket/prefix`, `gs://bucket/prefix` or `file:///mnt/team/store`.
        options: options for fsspec, e.g. `endpoint_url`. The values `true` and `false` become booleans.
        push: if False, `upload` does nothing.
    """

    def __init__(self, url: str, options: Mapping[str, str] | None = None, *, push: bool = True) -> None:
        self.url = url.rstrip("/")
        # A deep copy, because botocore modifies its options.
        self._options: dict[str, Any] = deepcopy(_DEFAULTS.get(_protocol(url), {}))
        for name, value in (options or {}).items():
            self._options[name] = {"true": True, "false": False}.get(value, value)
        self._push = push
        self._opened: tuple[Any, str] | None = None
        self._is_away = False
        self._damaged: set[str] = set()

    def fetch(self, key: CacheKey, into: Path, objects: Objects, warn: Callable[[str], None]) -> Entry | None:
        """Download the entry of `key`, and those of its files that the local store lacks.

        Args:
            key: the key of the entry.
            into: an empty directory; each downloaded file gets its digest as name there.
            objects: the files of the local store.
            warn: called with the reason if the remote fails or its data are damaged.

        Returns:
            The entry, each of whose files is in `objects` or in `into`. None if the remote cannot be reached, or if the
                entry or one of its files is missing or damaged there.

        Raises:
            MissingRequirement: the package for this kind of URL is not installed.
            StoreError: the URL is wrong, or a file could not be written here.
        """
        if self._is_away:
            return None
        try:
            files, root = self._open()
            data = self._read_entry(files, f"{root}/{_entry_name(key)}")
            if data is None:
                return None
            entry = decode(data, key.digest, objects.locate)
        except DamagedEntry as error:
            warn(f"The remote entry {self.url}/{_entry_name(key)} {error}; it is not used.")
            return None
        except self._failures() as error:
            self._give_up(error, warn)
            return None
        for file in entry.files:
            if (into / file.digest).exists() or objects.fault(file.digest, file.size) is None:
                continue
            if not self._fetch_file(files, root, file, into / file.digest, warn):
                return None
        return entry

    def upload(self, entry: Entry, warn: Callable[[str], None]) -> None:
        """Upload the files of an entry that the remote lacks and, last, the entry itself.

        Args:
            entry: an entry of the local store.
            warn: called with the reason if the remote fails.

        Raises:
            MissingRequirement: the package for this kind of URL is not installed.
            StoreError: the URL is wrong.
        """
        if self._is_away or not self._push:
            return
        try:
            files, root = self._open()
            for file in entry.files:
                name = f"{root}/{_object_name(file.digest)}"
                if file.digest in self._damaged or not _has(files, name, file.size):
                    self._upload(files, name, file.path)
                    self._damaged.discard(file.digest)
            self._upload(files, f"{root}/{_entry_name(entry.key)}", encode(entry))
        except self._failures() as error:
            self._give_up(error, warn)

    def _open(self) -> tuple[Any, str]:
        if self._opened is None:
            fsspec = require("fsspec", f"store.remote={self.url}")
            if (package := _NEEDS.get(_protocol(self.url))) is not None:
                require(package, f"store.remote={self.url}")
            try:
                self._opened = fsspec.core.url_to_fs(self.url, **self._options)
            except ImportError as error:
                raise MissingRequirement(
                    f"store.remote={self.url} needs a package that is not installed: {error}.",
                    hint="Next: install the package that the message names",
                ) from error
            except (ValueError, TypeError) as error:
                raise StoreError(
                    f"store.remote={self.url} cannot be opened: {error}.",
                    hint="Next: give an fsspec URL such as s3://bucket/prefix, and valid options for it",
                ) from error
        return self._opened

    def _read_entry(self, files: Any, name: str) -> bytes | None:
        try:
            if not self._is_file(files, name):
                raise DamagedEntry("is not a regular file")
            with _reading(files, name) as read:
                # A raw file may return fewer bytes than requested.
                data = b""
                while len(data) <= SIZE_LIMIT and (block := read(SIZE_LIMIT + 1 - len(data))):
                    data += block
        except FileNotFoundError:
            return None
        if len(data) > SIZE_LIMIT:
            raise DamagedEntry(f"is larger than {SIZE_LIMIT} bytes")
        return data

    def _fetch_file(self, files: Any, root: str, file: StoredFile, target: Path, warn: Callable[[str], None]) -> bool:
        name = _object_name(file.digest)
        digest, size = hashlib.sha256(), 0
        fault = "is not a regular file"
        try:
            if self._is_file(files, f"{root}/{name}"):
                with _reading(files, f"{root}/{name}") as read, target.open("xb") as local:
                    # One block beyond the expected size is enough to detect a wrong size.
                    while size <= file.size and (block := read(_BLOCK)):
                        digest.update(block)
                        size += len(block)
                        with convert_disk_errors("write the fetched file", target):
                            local.write(block)
                if digest.hexdigest() == file.digest:
                    return True
                target.unlink()
                fault = f"has other content than its name says ({size} of {file.size} bytes came)"
        except FileNotFoundError:
            fault = "is missing"
        except self._failures() as error:
            target.unlink(missing_ok=True)
            self._give_up(error, warn)
            return False
        self._damaged.add(file.digest)
        warn(f"The remote object {self.url}/{name} {fault}; {file.name} is not used.")
        return False

    def _is_file(self, files: Any, name: str) -> bool:
        """Return True if a regular file has this name.

        Object stores contain nothing but regular files, so no request is sent to them.
        """
        return _protocol(self.url) in _ATOMIC or within(PATIENCE_SECONDS, files.info, name)["type"] == "file"

    def _upload(self, files: Any, name: str, content: Path | bytes) -> None:
        if _protocol(self.url) in _ATOMIC:
            _put(files, name, content)
            return
        temporary = f"{name}.{secrets.token_hex(8)}.part"
        files.makedirs(name.rpartition("/")[0], exist_ok=True)
        try:
            _put(files, temporary, content)
            files.mv(temporary, name)
        except self._failures():
            with suppress(*self._failures()):
                files.rm_file(temporary)
            raise

    def _give_up(self, error: BaseException, warn: Callable[[str], None]) -> None:
        self._is_away = True
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        warn(f"The remote store {self.url} cannot be used ({text}); this run continues without it.")

    @staticmethod
    def _failures() -> tuple[type[BaseException], ...]:
        modules = ((sys.modules.get(module), name) for module, name in _FAILURES)
        return OSError, *(getattr(module, name) for module, name in modules if hasattr(module, name))


def _protocol(url: str) -> str:
    return url.partition("://")[0] if "://" in url else "file"


def _object_name(digest: str) -> str:
    return f"objects/{digest[:2]}/{digest}"


def _entry_name(key: CacheKey) -> str:
    check_stage(key.stage)
    return f"entries/{key.stage}/{key.digest}.json"


@contextmanager
def _reading(files: Any, name: str) -> Iterator[Callable[[int], bytes]]:
    """Open a remote file and yield a function that reads its next bytes.

    Raises:
        TimeoutError: no answer came within PATIENCE_SECONDS.
    """
    source = within(PATIENCE_SECONDS, files.open, name, "rb")
    with ExitStack() as opened:
        opened.callback(source.close)
        try:
            yield lambda size: within(PATIENCE_SECONDS, source.read, size)
        except TimeoutError:
            opened.pop_all()  # closing the file would wait for the read that hangs
            raise


def _has(files: Any, name: str, size: int) -> bool:
    try:
        return bool(files.info(name)["size"] == size)
    except FileNotFoundError:
        return False


def _put(files: Any, name: str, content: Path | bytes) -> None:
    if isinstance(content, bytes):
        files.pipe_file(name, content)
    else:
        files.put_file(str(content), name)
