"""Functions that fill a store, damage it, and act as another process or user."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cosybuild.store.entry import Entry
from cosybuild.store.key import CacheKey
from cosybuild.store.remote import Remote
from cosybuild.store.result import StageResult
from cosybuild.store.store import Store

NOBODY = 65534


def key_of(stage: str = "export", **parts: str) -> CacheKey:
    return CacheKey(stage, {f"settings.{name}": value for name, value in parts.items()})


def build(store: Store, key: CacheKey, **files: bytes) -> Entry:
    """Publish an entry whose one artifact `graph` has these files, e.g. `graph=b"..."`."""
    with store.building(key), store.workdir(key.stage) as work:
        return publish(store, key, work, files)


def publish(store: Store, key: CacheKey, work: Path, files: dict[str, bytes]) -> Entry:
    paths = []
    for name, content in files.items():
        (work / name).write_bytes(content)
        paths.append(work / name)
    return store.publish(key, StageResult({"graph": paths}, {"nodes": 3}), {"at": "2026-01-01T00:00:00"})


def overwrite(path: Path, offset: int = 0) -> None:
    """Flip one bit by an ordinary write: set the mode to writable, and let the time change."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))
    path.chmod(mode)


def rot(path: Path, offset: int = 0) -> None:
    """Flip one bit as a failing disk would: times and size stay the same."""
    stat = path.stat()
    overwrite(path, offset)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def tree(path: Path) -> dict[str, tuple[int, int]]:
    """Return the size and mtime of every file below `path`."""
    return {
        str(file.relative_to(path)): (file.stat().st_size, file.stat().st_mtime_ns)
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def in_child(function: Callable[[], Any], *, uid: int | None = None, groups: Sequence[int] = ()) -> Any:
    """Call `function` in a forked process, as another user if `uid` is given, and return what it returns."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if uid is not None:
                os.setgroups(groups)
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            answer = pickle.dumps(function())
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(answer)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    status = os.waitpid(pid, 0)[1]
    assert status == 0, f"the child ended with {status}"
    return pickle.loads(answer)  # noqa: S301 - written by our own fork


def again(store: Store, warnings: list[str], *, verify: bool = False) -> Store:
    """Return the store as the next process sees it."""
    return Store(store.path, verify=verify, warn=warnings.append)


def store_with(tmp_path: Path, name: str, remote: Remote, warnings: list[str]) -> Store:
    """Return one of several stores that share a remote."""
    return Store(tmp_path / name, remote=remote, warn=warnings.append)
