"""Owners of locks and working directories, and the check if the process of an owner is still alive."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cosybuild.system.files import clock_of

BEAT_SECONDS = 10.0
STALE_SECONDS = 120.0
"""The largest age of a living owner's record, in seconds of the file system's clock.

An owner on another host or in another container counts as dead if its record is older than this and did not change for
WATCH_SECONDS.
"""
WATCH_SECONDS = 30.0
"""The time, in seconds of the local monotonic clock, for which the record of a dead owner must have stayed unchanged.

Because of this condition, a jump of the file system's clock alone does not make an owner count as dead.
"""


@dataclass(frozen=True)
class Owner:
    """The process that owns a lock or a working directory.

    `boot`, `namespace` and `start` distinguish the process from one with the same pid after a reboot, in another
    container, or after the pid was reused. They are empty if the system does not report them.
    """

    host: str
    pid: int
    boot: str
    namespace: str
    start: str
    nonce: str

    @staticmethod
    def of_this_process() -> Owner:
        pid = os.getpid()
        return Owner(platform.node(), pid, _boot(), _namespace(), _start_of(pid) or "", secrets.token_hex(8))

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @property
    def token(self) -> str:
        """The name of the record's file, a digest of the record. A record that does not match its name is damaged."""
        return _token_of(self.encode())

    def is_alive(self) -> bool | None:
        """Return True if the process is alive, False if it is not, None if this host cannot find out."""
        if not self.start or (self.boot, self.namespace, self.host) != (_boot(), _namespace(), platform.node()):
            return None
        return _start_of(self.pid) == self.start

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def read_owner(path: Path) -> tuple[Owner | None, float]:
    """Return the owner in a record, None if the record is damaged, and the record's mtime in seconds.

    Raises:
        OSError: the record is missing or cannot be read.
    """
    # Open the file before reading its mtime: opening makes a network file system ask its server.
    with path.open("rb") as file:
        data = file.read(65536)
        mtime = os.fstat(file.fileno()).st_mtime
    if _token_of(data) != path.name:
        return None, mtime
    return Owner(**json.loads(data)), mtime


class Watch:
    """The repeated check of one record, by which a waiting process finds out if the record's owner is alive."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mtime: float | None = None
        self._since = 0.0

    def verdict(self) -> tuple[bool, str]:
        """Return True if the owner is dead and False if it may be alive, and the owner's name.

        Raises:
            OSError: the record is missing or cannot be read.
        """
        owner, mtime = read_owner(self._path)
        name = "a process whose record is damaged" if owner is None else str(owner)
        alive = None if owner is None else owner.is_alive()
        if alive is not None:
            return not alive, name
        if mtime != self._mtime:
            self._mtime, self._since = mtime, time.monotonic()
        if time.monotonic() - self._since < WATCH_SECONDS:
            return False, name
        return clock_of(self._path.parent.parent) - mtime > STALE_SECONDS, name


class Heartbeat:
    """A thread that renews the mtime of this process's records, so that other hosts see that the process is alive."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._records: set[Path] = set()
        self._guard = threading.Lock()
        self._stop: threading.Event | None = None
        self._pid = os.getpid()

    def add(self, record: Path) -> None:
        if self._pid != os.getpid():  # after a fork there is no thread, and the old records belong to the parent
            self._reset()
        with self._guard:
            self._records.add(record)
            if self._stop is None:
                self._stop = threading.Event()
                threading.Thread(target=self._beat, args=(self._stop,), name="store-heart", daemon=True).start()

    def remove(self, record: Path) -> None:
        with self._guard:
            self._records.discard(record)
            if not self._records and self._stop is not None:
                self._stop.set()
                self._stop = None

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(BEAT_SECONDS):
            with self._guard:
                records = tuple(self._records)
            for record in records:
                # Ignore a record that is lost or cannot be reached: the owner checks its lock before it publishes.
                with suppress(OSError):
                    os.utime(record)


def _token_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _boot() -> str:
    return _read("/proc/sys/kernel/random/boot_id")


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def _start_of(pid: int) -> str | None:
    """Return the clock ticks from boot to the start of a process; None if it has ended or its start is not reported."""
    # The command's name is in parentheses and may contain any character, so count fields after the last `)`.
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return None if len(fields) < 20 or fields[0] in ("Z", "X") else fields[19]


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
