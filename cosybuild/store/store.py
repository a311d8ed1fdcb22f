"""The store of the results of steps, addressed by content. An entry appears only when all its files are complete."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any

from cosybuild.digest import digest_of
from cosybuild.errors import ConfigurationError, StoreError
from cosybuild.filename import fault_of
from cosybuild.store.artifact import Artifact, StoredFile
from cosybuild.store.checkout import DamagedContent, checkout
from cosybuild.store.entry import Entry, decode, encode
from cosybuild.store.entry_files import EntryFiles
from cosybuild.store.hash_cache import HashCache
from cosybuild.store.key import CacheKey
from cosybuild.store.layout import Layout
from cosybuild.store.locks import Lock
from cosybuild.store.nearest import nearest_key
from cosybuild.store.objects import Objects
from cosybuild.store.remote import Remote
from cosybuild.store.result import StageResult
from cosybuild.store.uses import Uses
from cosybuild.store.workdirs import Workdirs
from cosybuild.system.files import convert_disk_errors, write_atomic
from cosybuild.system.owner import Heartbeat

_log = logging.getLogger("cosybuild").warning


class Store:
    """A directory with the results of finished steps, and optionally a remote store from which results are pulled.

    Finding and planning write nothing. `flush` writes new digests and uses, if the disk permits it.

    Args:
        path: the directory; it is made at the first write.
        remote: the remote store; None for none.
        verify: read and check every stored file that is used, not only its size and seal.
        wait_seconds: the longest time, in seconds, that `building` waits for another process.
        warn: called with a message if anything is damaged, lost or out of reach.
        judge: called with the stage, `metrics` and `made` of an entry; returns a fault of them as a phrase, or None.
            An entry with a fault counts as damaged.

    Raises:
        StoreError: the directory belongs to a newer version, or cannot be read.
    """

    def __init__(
        self,
        path: Path,
        *,
        remote: Remote | None = None,
        verify: bool = False,
        wait_seconds: float = 86400.0,
        warn: Callable[[str], None] = _log,
        judge: Callable[[str, Mapping[str, Any], Mapping[str, Any]], str | None] = lambda *_: None,
    ) -> None:
        self.layout = Layout(path, warn)
        self.remote = remote
        self.verify = verify
        self.wait_seconds = wait_seconds
        self.digests = HashCache(self.layout.digests, self.layout.tmp, warn)
        self.objects = Objects(self.layout.objects, self.layout.quarantine, self.digests)
        self.entry_files = EntryFiles(self.layout, self.objects)
        self.workdirs = Workdirs(self.layout.tmp, heart := Heartbeat())
        self.warn = warn
        self._judge = judge
        self._heart = heart
        self._held: dict[str, Lock] = {}
        self._damage: dict[str, str] = {}
        self._uses = Uses()

    @property
    def path(self) -> Path:
        """The store's directory."""
        return self.layout.path

    def entry_path(self, stage: str, key_digest: str) -> Path:
        """Return the path of the entry of a key; the file need not exist.

        Raises:
            ConfigurationError: the stage is not a plain file name. It may come from a record of another machine.
        """
        return self.entry_files.path(stage, key_digest)

    def find(self, key: CacheKey) -> Entry | None:
        """Return the entry of this key; None if there is none, or if the entry or one of its files is damaged.

        Damage is reported in a warning and by `damage`. Damaged files are moved to the quarantine when the step is
        built again.
        """
        digest = key.digest
        path = self.entry_path(key.stage, digest)
        entry, fault = self.entry_files.examine(path, thorough=self.verify)
        if fault is None and entry is not None and (unfit := self._judge(key.stage, entry.metrics, entry.made)):
            fault = f"the entry {path} {unfit}"
        if fault is not None:
            if self._damage.get(digest) != fault:
                self.warn(f"The stored result of '{key.stage}' is damaged and cannot be used: {fault}.")
            self._damage[digest] = fault
            return None
        self._damage.pop(digest, None)
        if entry is not None:
            self._uses.add(path)
        return entry

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Protect the entries that this process uses or makes from `gc` on any host, until the `with` block ends.

        If the store cannot be written, nothing is protected.
        """
        with ExitStack() as until_then:
            with suppress(StoreError):
                self.layout.prepare()
                # gc removes nothing that was used since the oldest working directory was made.
                until_then.enter_context(self.workdirs.new("run"))
            with self._uses.at_once():
                yield

    def damage(self, key: CacheKey) -> str | None:
        """Return the damage that `find` has found for this key, as a phrase; None if it found none."""
        return self._damage.get(key.digest)

    def nearest(self, key: CacheKey) -> CacheKey | None:
        """Return the stored key that is most similar to `key` (see `store.nearest`); None if its stage has no entry."""
        return nearest_key(key, self.layout, self.objects.locate)

    def pull(self, key: CacheKey) -> Entry | None:
        """Fetch the entry of this key and its files from the remote.

        Returns:
            The entry; None if there is no remote, or if it cannot provide the entry.

        Raises:
            StoreError: the fetched files could not be written here.
        """
        if self.remote is None:
            return None
        with convert_disk_errors("write the store", self.path):
            self.layout.prepare()
            with self.workdirs.new("pull") as work:
                entry = self.remote.fetch(key, work, self.objects, self.warn)
                if entry is None:
                    return None
                for file in entry.files:
                    if (fetched := work / file.digest).exists():
                        self.objects.put(fetched, file.digest)
                write_atomic(self.entry_path(key.stage, key.digest), encode(entry), self.layout.tmp)
        return self.find(key)

    def push(self, entry: Entry) -> None:
        """Upload an entry to the remote, if there is one. If the remote cannot be reached, give a warning."""
        if self.remote is not None:
            self.remote.upload(entry, self.warn)

    @contextmanager
    def building(self, key: CacheKey, *, on_wait: Callable[[str], None] = lambda owner: None) -> Iterator[None]:
        """Hold the exclusive lock to build `key`, among all hosts that share this directory.

        In the `with` block, the caller must look for the entry again, because another process may have built it while
        this one waited.

        Args:
            key: the key to build.
            on_wait: called with the name of each process for which this one waits.

        Raises:
            StoreError: a living process still builds the key after `wait_seconds`, or the store cannot be written.
        """
        self.layout.prepare()
        self.workdirs.sweep()
        # The entries that were found are inputs of the build. Note their uses now, because the build may take longer
        # than gc's grace period.
        self._uses.note()
        lock = Lock(self.layout.locks / key.digest, self.layout.tmp, self._heart)
        lock.acquire(f"'{key.stage}'", self.wait_seconds, on_wait)
        self._held[key.digest] = lock
        try:
            self._set_damaged_aside(key)
            yield
        finally:
            del self._held[key.digest]
            lock.release()

    @contextmanager
    def workdir(self, stage_name: str) -> Iterator[Path]:
        """Make a fresh empty directory on the store's file system, yield it, and remove it after the `with` block.

        Args:
            stage_name: the beginning of the directory's name.

        Raises:
            StoreError: the directory cannot be made, or the disk became full within the block.
        """
        self.layout.prepare()
        self._uses.note()
        with self.workdirs.new(stage_name) as work:
            yield work

    def publish(self, key: CacheKey, result: StageResult, made: Mapping[str, Any]) -> Entry:
        """Add a result to the store: first its files, each atomically, and last the entry.

        Files in a working directory of this store are moved, others are copied. A key may be published twice: the
        process that holds the lock of the key replaces the entry, and any other process keeps an existing entry.

        Args:
            key: the key of the step.
            result: the files and metrics.
            made: facts of the build, see `Entry.made`.

        Raises:
            StoreError: a write failed; no entry was made.
        """
        lock = self._held.get(key.digest)
        if lock is None or lock.is_lost:
            if lock is not None:
                self.warn(f"The lock for '{key.stage}' was lost during the build, because another process replaced it.")
            if (entry := self.find(key)) is not None:
                return entry
        with convert_disk_errors("write the store", self.path):
            self.layout.prepare()
            outputs = {
                slot: Artifact(slot, tuple(self._keep(Path(path)) for path in paths))
                for slot, paths in result.outputs.items()
            }
            data = encode(Entry(key, outputs, result.metrics, made))
            write_atomic(self.entry_path(key.stage, key.digest), data, self.layout.tmp)
        self._damage.pop(key.digest, None)
        self._uses.add(self.entry_path(key.stage, key.digest))
        return decode(data, key.digest, self.objects.locate)

    def source(self, slot: str, *paths: Path) -> Artifact:
        """Return an artifact whose files stay outside the store.

        Args:
            slot: the slot that the artifact fills.
            paths: the files, the main file first.

        Raises:
            StoreError: a file is missing, cannot be read, or changes while it is read.
        """
        files = []
        for path in paths:
            try:
                digest, identity = self.digests.observe(path, thorough=self.verify)
            except OSError as error:
                raise StoreError(
                    f"Cannot read the input {path}: {error.strerror or error}.",
                    hint="Next: check the path and its mode",
                ) from error
            files.append(StoredFile(path.name, path, digest, identity[1], identity))
        return Artifact(slot, tuple(files))

    def checkout(self, artifact: Artifact, directory: Path, names: Mapping[str, str] | None = None) -> tuple[Path, ...]:
        """Place the files of an artifact in a directory and return their paths (see `store.checkout`).

        Args:
            artifact: an artifact whose files are in the store.
            directory: the directory; it is made if it does not exist.
            names: name of a file -> name to give it; None to keep all names.

        Raises:
            StoreError: a file could not be placed, or a stored file was damaged and has been moved to the quarantine.
        """
        try:
            return checkout(artifact, directory, names or {}, self.digests, thorough=self.verify)
        except DamagedContent as error:
            file = error.file
            self.fault(file)
            raise StoreError(
                f"The stored file {file.path} of {file.name} is damaged: its content does not match its digest.",
                hint="Next: run the same command again; the damaged file is in quarantine and will be built again",
            ) from error

    def fault(self, file: StoredFile, *, known: bool = False) -> str | None:
        """Return the fault of a stored file as a phrase; None if the file is intact.

        The file is read even if its seal is intact. A damaged file is moved to the quarantine, so that `find` no longer
        returns entries that refer to it.

        Args:
            file: the stored file. A file outside the store has no fault.
            known: the content was read before, so check only the size and the seal.

        Raises:
            StoreError: a damaged file cannot be moved.
        """
        if file.path != self.objects.locate(file.digest):
            return None  # it was never published
        fault = self.objects.fault(file.digest, file.size, thorough=not known)
        if fault is not None:
            with convert_disk_errors("move damaged results within", self.path):
                self.objects.set_aside(file.digest, file.size, thorough=True)
        return fault

    def flush(self) -> None:
        """Write the digest cache, and record for `gc` which entries were used. Disk errors are ignored."""
        self.digests.flush()
        self._uses.note()

    def entries(self) -> Iterator[Entry]:
        """Yield every complete entry, ordered by stage and key. Damaged entries are left out."""
        for path in self.entry_files.paths():
            entry, fault = self.entry_files.examine(path, thorough=False)
            if entry is not None and fault is None:
                yield entry

    def _set_damaged_aside(self, key: CacheKey) -> None:
        """Move the damaged entry, or the damaged stored files, of this key to the quarantine."""
        if key.digest not in self._damage:
            return
        path = self.entry_path(key.stage, key.digest)
        entry, fault = self.entry_files.examine(path, thorough=self.verify)
        if fault is None:
            return
        with convert_disk_errors("move damaged results within", self.path):
            if entry is None:
                self.entry_files.set_aside(path)
            else:
                for file in entry.files:
                    self.objects.set_aside(file.digest, file.size, thorough=self.verify)

    def _keep(self, path: Path) -> StoredFile:
        """Move a finished file into the store. Copy it if it is outside the working directories or has hard links."""
        if (fault := fault_of(path.name)) is not None:
            raise ConfigurationError(
                f"A step made a file with the name {path.name!a}, and that name {fault}.",
                hint="Next: choose another name with model.name=NAME",
            )
        stat = path.lstat()
        if self.layout.tmp in path.absolute().parents and S_ISREG(stat.st_mode) and stat.st_nlink == 1:
            digest = digest_of(path)
            return StoredFile(path.name, self.objects.put(path, digest), digest, stat.st_size)
        with self.workdirs.new("copy") as work:
            return self._keep(Path(shutil.copyfile(path, work / path.name)))
