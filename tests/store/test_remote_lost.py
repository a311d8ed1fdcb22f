"""A remote that is out of reach, lost during a transfer, or sends too much gives one warning and no partial files."""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cosybuild.errors import StoreError
from cosybuild.store.remote import Remote
from tests.store.storing import build, in_child, key_of, store_with

pytestmark = pytest.mark.usefixtures("empty_memory")


class Breaking:
    """A remote file that fails after this number of blocks."""

    def __init__(self, file: Any, blocks: int) -> None:
        self.file = file
        self.blocks = blocks
        self.asked: list[int] = []

    def __enter__(self) -> Breaking:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def close(self) -> None:
        self.file.close()

    def read(self, size: int) -> bytes:
        if not self.blocks:
            raise ConnectionError("gone")
        self.blocks -= 1
        self.asked.append(size)
        content: bytes = self.file.read(size)
        return content


@pytest.mark.parametrize(
    ("error", "words"),
    [(OSError("first\nsecond\nthird"), "(first)"), (OSError(), "(OSError)"), (TimeoutError(" "), "(TimeoutError)")],
)
def test_an_unreachable_remote_gives_one_warning_and_is_not_used_again(
    tmp_path: Path, warnings: list[str], error: OSError, words: str
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        calls.append(1)
        raise error

    calls: list[int] = []
    away = f"The remote store memory://away cannot be used {words}; this run continues without it."
    for first in ("pull", "push"):
        calls.clear()
        warnings.clear()
        remote = Remote("memory://away/")
        remote._opened = SimpleNamespace(open=fail, info=fail, pipe_file=fail, put_file=fail), "/away"
        taker = store_with(tmp_path, f"{first} first", remote, warnings)
        entry = build(taker, key_of(), graph=b"1")
        if first == "push":
            taker.push(entry)
        assert taker.pull(key_of()) is None
        taker.push(entry)
        assert (warnings, len(calls)) == ([away], 1)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("fsspec.exceptions", "FSTimeoutError"),
        ("botocore.exceptions", "BotoCoreError"),
        ("botocore.exceptions", "ClientError"),
        ("aiohttp", "ClientError"),
        ("gcsfs.retry", "HttpError"),
        ("google.auth.exceptions", "GoogleAuthError"),
        ("azure.core.exceptions", "AzureError"),
    ],
)
def test_a_client_with_its_own_errors_counts_as_unreachable(
    tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    error = type(name, (Exception,), {})

    def fail(*arguments: Any) -> None:
        raise error("no")

    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{name: error}))
    remote = Remote("memory://away")
    remote._opened = SimpleNamespace(open=fail, info=fail), "/away"
    assert store_with(tmp_path, "taker", remote, warnings).pull(key_of()) is None
    assert len(warnings) == 1


@pytest.mark.parametrize("blocks", [None, 0, 2])
def test_a_remote_lost_during_a_pull_leaves_no_file(
    tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch, blocks: int | None
) -> None:
    """The remote is lost while the file is opened, before its first block, and after two blocks."""
    remote = Remote("memory://team")
    giver = store_with(tmp_path, "giver", remote, warnings)
    giver.push(build(giver, key_of(), graph=b"x" * 10_000))
    monkeypatch.setattr("cosybuild.store.remote._BLOCK", 1000)
    open_it = MemoryFileSystem.open

    def lose(files: Any, name: str, mode: str) -> Any:
        if "objects" not in name:
            return open_it(files, name, mode)
        if blocks is None:
            raise ConnectionError("gone")
        return Breaking(open_it(files, name, mode), blocks)

    monkeypatch.setattr(MemoryFileSystem, "open", lose)
    taker = store_with(tmp_path, "taker", remote, warnings)
    assert taker.pull(key_of()) is None
    assert "cannot be used (gone)" in warnings[0]
    assert len(warnings) == 1
    assert list(taker.layout.objects.glob("*/*")) == list(taker.layout.tmp.iterdir()) == []


@pytest.mark.attack("fill or wait", "no more is read")
@pytest.mark.parametrize(("size", "came"), [(7000, None), (7001, 7001), (100_000, 8000)])
def test_only_one_block_beyond_the_expected_size_is_read(
    tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch, size: int, came: int | None
) -> None:
    giver = store_with(tmp_path, "giver", Remote("memory://team"), warnings)
    giver.push(build(giver, key_of(), graph=b"x" * 7000))
    (name,) = MemoryFileSystem().glob("/team/objects/*/*")
    MemoryFileSystem().pipe_file(name, b"x" * size)
    monkeypatch.setattr("cosybuild.store.remote._BLOCK", 1000)
    pulled = store_with(tmp_path, "taker", Remote("memory://team"), warnings).pull(key_of())
    assert (pulled is None) == (came is not None)
    assert came is None or f"({came} of 7000 bytes came)" in warnings[0]


def test_a_full_local_disk_during_a_pull_is_an_error_of_this_machine(tmp_path: Path, warnings: list[str]) -> None:
    giver = store_with(tmp_path, "giver", Remote("memory://team"), warnings)
    entry = build(giver, key_of(), graph=b"x" * 100_000)
    giver.push(entry)

    def limited() -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        with pytest.raises(StoreError) as caught:
            store_with(tmp_path, "small", Remote("memory://team"), warnings).pull(key_of())
        return caught.value.message

    message = in_child(limited)
    assert message.startswith(f"Cannot write the fetched file {tmp_path / 'small' / 'tmp'}")
    assert f"/{entry.files[0].digest}: the file is larger than this process may write" in message
    assert store_with(tmp_path, "large", Remote("memory://team"), warnings).pull(key_of()) is not None
    assert warnings == []


@pytest.mark.attack("fill or wait", "no more is read")
def test_an_entry_beyond_the_size_limit_is_not_read(
    tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    giver = store_with(tmp_path, "giver", Remote("memory://large"), warnings)
    giver.push(build(giver, key_of(), graph=b"1"))
    (name,) = MemoryFileSystem().glob("/large/entries/export/*")
    size = MemoryFileSystem().info(name)["size"]
    open_it = MemoryFileSystem.open
    opened: list[Breaking] = []

    def watch(files: Any, name: str, mode: str) -> Any:
        opened.append(Breaking(open_it(files, name, mode), 99))
        return opened[-1]

    monkeypatch.setattr(MemoryFileSystem, "open", watch)
    for limit, warned in ((size, 0), (size - 1, 1)):
        monkeypatch.setattr("cosybuild.store.remote.SIZE_LIMIT", limit)
        opened.clear()
        pulled = store_with(tmp_path, f"taker {limit}", Remote("memory://large"), warnings).pull(key_of())
        assert (pulled is None, len(warnings)) == (bool(warned), warned)
        assert opened[0].asked[0] == limit + 1  # for any amount of data
    assert f"memory://large/entries/export/{key_of().digest}.json is larger than {size - 1} bytes" in warnings[0]
