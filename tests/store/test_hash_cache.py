"""The cache of digests: an unchanged file is read once, a file that may have changed is read again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from cosybuild.digest import digest_of
from cosybuild.errors import StoreError
from cosybuild.store import hash_cache as module
from cosybuild.store.hash_cache import HashCache
from tests.store.storing import overwrite, rot


class Counted:
    """`digest_of` with a record of the files that are read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, path: Path) -> str:
        self.read.append(path.name)
        return digest_of(path)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr(module, "digest_of", counted)
    return counted


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def warnings() -> list[str]:
    return []


def memo(tmp_path: Path, warnings: list[str]) -> HashCache:
    return HashCache(tmp_path / "digests", tmp_path / "tmp", warnings.append)


def test_the_next_process_reads_no_file_again(tmp_path: Path, warnings: list[str], counted: Counted) -> None:
    path = tmp_path / "flow ö.pt"
    path.write_bytes(b"weights")
    first = memo(tmp_path, warnings)
    assert first.digest(path) == (sha256(b"weights"), 7)
    first.flush()
    assert memo(tmp_path, warnings).digest(path) == (sha256(b"weights"), 7)
    assert counted.read == ["flow ö.pt"]


def test_a_touched_file_is_read_again_and_has_the_same_digest(
    tmp_path: Path, warnings: list[str], counted: Counted
) -> None:
    path = tmp_path / "flow.pt"
    path.write_bytes(b"weights")
    first = memo(tmp_path, warnings)
    digest = first.digest(path)
    path.touch()
    assert first.digest(path) == digest
    assert counted.read == ["flow.pt"] * 2


@pytest.mark.attack("stale", "the file is hashed again")
def test_a_write_that_restores_size_and_mtime_is_detected(tmp_path: Path, warnings: list[str]) -> None:
    path = tmp_path / "flow.pt"
    path.write_bytes(b"weights")
    first = memo(tmp_path, warnings)
    assert first.digest(path)[0] == sha256(b"weights")
    rot(path)
    assert first.digest(path)[0] == sha256(path.read_bytes()) != sha256(b"weights")


def test_no_write_directly_after_reading_is_missed(tmp_path: Path, warnings: list[str]) -> None:
    """A stamp can miss a change, because the file system's clock ticks more slowly than this loop."""
    path = tmp_path / "flow.pt"
    first = memo(tmp_path, warnings)
    for number in range(40):
        content = b"%08d" % number
        with path.open("r+b" if number else "wb") as file:
            file.write(content)
        assert first.digest(path)[0] == sha256(content)


@pytest.mark.parametrize(
    ("age_ns", "ctime_ns", "pause", "settled"),
    [
        (0, 123_456_789, 0.05, True),
        (10_000_000, 123_456_789, 0.04, True),
        (50_000_000, 123_456_789, None, True),
        (500_000_000, 123_456_789, None, True),
        (500_000_000, 0, 1.5, True),  # whole seconds, as from a coarse clock
        (3_000_000_000, 0, None, True),
        (-1, 123_456_789, None, False),  # the server's clock is ahead
    ],
)
def test_reading_waits_for_the_end_of_the_tick(
    monkeypatch: pytest.MonkeyPatch, age_ns: int, ctime_ns: int, pause: float | None, settled: bool
) -> None:
    pauses: list[float] = []
    ctime = 1_700_000_000_000_000_000 + ctime_ns
    monkeypatch.setattr(time, "time_ns", lambda: ctime + age_ns)
    monkeypatch.setattr(time, "sleep", pauses.append)
    assert module._settle((1, ctime, ctime, 1)) is settled
    assert pauses == ([] if pause is None else [pytest.approx(pause, rel=1e-12)])


@pytest.mark.parametrize("name", ["flow.pt", "tmp/step/graph.onnx"])
def test_a_digest_that_a_later_write_could_invalidate_unseen_is_not_cached(
    tmp_path: Path, warnings: list[str], counted: Counted, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """This holds if the clock is ahead, and in the scratch directory, whose files are moved."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    if name == "flow.pt":
        monkeypatch.setattr(module, "_settle", lambda stamp: False)
    first = memo(tmp_path, warnings)
    for _ in range(2):
        assert first.digest(path) == (sha256(b"weights"), 7)
    assert counted.read == [path.name] * 2


def test_the_complete_stamp_is_cached(tmp_path: Path, warnings: list[str], counted: Counted) -> None:
    """A download has the time of its upload as mtime, so all numbers of the stamp differ."""
    path = tmp_path / "flow.pt"
    path.write_bytes(b"weights")
    os.utime(path, ns=(1_000_000_007, 1_000_000_009))
    first = memo(tmp_path, warnings)
    first.digest(path)
    first.digest(path)
    first.flush()
    memo(tmp_path, warnings).digest(path)
    assert counted.read == ["flow.pt"]


def test_a_cache_file_that_is_no_text_is_reported_as_damaged(tmp_path: Path, warnings: list[str]) -> None:
    path = tmp_path / "flow.pt"
    path.write_bytes(b"weights")
    (tmp_path / "digests").write_bytes(b"cosybuild digests \xff\xfe 1\n{}")
    assert memo(tmp_path, warnings).digest(path) == (sha256(b"weights"), 7)
    assert len(warnings) == 1


def test_links_are_followed(tmp_path: Path, warnings: list[str]) -> None:
    (tmp_path / "blob1").write_bytes(b"1")
    (tmp_path / "blob2").write_bytes(b"2")
    link = tmp_path / "flow.pt"
    link.symlink_to("blob1")
    first = memo(tmp_path, warnings)
    assert first.digest(link)[0] == sha256(b"1")
    link.unlink()
    link.symlink_to("blob2")
    assert first.digest(link)[0] == sha256(b"2")


@pytest.mark.attack("stale", "the file is hashed again")
def test_every_flipped_byte_of_the_cache_file_is_detected(tmp_path: Path, warnings: list[str]) -> None:
    path = tmp_path / "flow.pt"
    path.write_bytes(b"weights")
    first = memo(tmp_path, warnings)
    first.digest(path)
    first.flush()
    data = (tmp_path / "digests").read_bytes()
    for offset in range(len(data)):
        (tmp_path / "digests").write_bytes(data)
        overwrite(tmp_path / "digests", offset)
        warnings.clear()
        later = memo(tmp_path, warnings)
        assert later.digest(path) == (sha256(b"weights"), 7)
        assert len(warnings) == 1
        assert str(tmp_path / "digests") in warnings[0]
    later.flush()
    assert (tmp_path / "digests").read_bytes() == data
    assert len(warnings) == 1


def test_two_processes_keep_the_digests_of_both(tmp_path: Path, warnings: list[str], counted: Counted) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    one, two = memo(tmp_path, warnings), memo(tmp_path, warnings)
    one.digest(tmp_path / "a")
    two.digest(tmp_path / "b")
    one.flush()
    two.flush()
    later = memo(tmp_path, warnings)
    later.digest(tmp_path / "a")
    later.digest(tmp_path / "b")
    assert counted.read == ["a", "b"]


def test_the_cache_file_stays_small(tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIMIT", 3)
    first = memo(tmp_path, warnings)
    for number in range(6):
        (tmp_path / f"{number}").write_bytes(b"x")
        first.digest(tmp_path / f"{number}")
        first.flush()
    text = (tmp_path / "digests").read_text()
    assert [number for number in range(6) if json.dumps(f"{tmp_path}/{number}") in text] == [3, 4, 5]
    # A file that was read again counts as the newest.
    (tmp_path / "3").write_bytes(b"y")
    for number in (3, 6):
        (tmp_path / f"{number}").touch()
        first.digest(tmp_path / f"{number}")
        first.flush()
    text = (tmp_path / "digests").read_text()
    assert [number for number in range(7) if json.dumps(f"{tmp_path}/{number}") in text] == [3, 5, 6]


def test_a_file_that_changes_all_the_time_is_an_error(
    tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "flow.pt"
    path.write_bytes(b"1")

    reads = []

    def read_while_written(path: Path) -> str:
        reads.append(path)
        digest = digest_of(path)
        with path.open("ab") as file:
            file.write(b"more")
        return digest

    monkeypatch.setattr(module, "digest_of", read_while_written)
    with pytest.raises(StoreError, match="changed while it was read") as caught:
        memo(tmp_path, warnings).digest(path)
    assert caught.value.hint == "Next: run the same command again when the file is complete"
    assert len(reads) == 3


def test_a_thorough_look_reads_files_even_if_their_digests_are_cached(
    tmp_path: Path, warnings: list[str], counted: Counted
) -> None:
    path = tmp_path / "flow.pt"
    path.write_bytes(b"1")
    first = memo(tmp_path, warnings)
    first.digest(path)
    first.digest(path, thorough=True)
    assert counted.read == ["flow.pt"] * 2


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path, warnings: list[str]) -> None:
    (tmp_path / "file").write_bytes(b"")
    first = HashCache(tmp_path / "file" / "digests", tmp_path / "file" / "tmp", warnings.append)
    first.digest(tmp_path / "file")
    first.flush()
    assert warnings == []
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208 - names are what is compared
