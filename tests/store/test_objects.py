"""Contents of the store: listed in order, checked by their seal, and removed only when no process can need them."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from cosybuild.digest import digest_of
from cosybuild.store.hash_cache import HashCache
from cosybuild.store.objects import Objects, seal_of
from tests.store.storing import rot


@pytest.fixture
def objects(tmp_path: Path, warnings: list[str]) -> Objects:
    digests = HashCache(tmp_path / "digests", tmp_path / "tmp", warnings.append)
    return Objects(tmp_path / "objects", tmp_path / "quarantine", digests)


def put(objects: Objects, content: bytes) -> str:
    """Write a content and return its digest."""
    objects.path.mkdir(exist_ok=True)
    file = objects.path.parent / "new"
    file.write_bytes(content)
    digest = digest_of(file)
    objects.put(file, digest)
    return digest


def shelve(objects: Objects, name: str) -> Path:
    """Write a file named by this digest; listing does not read it."""
    path = objects.locate(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"1")
    return path


def test_contents_have_the_path_and_seal_of_every_earlier_store(objects: Objects, tmp_path: Path) -> None:
    """With another path or seal, the results of every existing store would be read or built again."""
    file = tmp_path / "empty"
    file.write_bytes(b"")
    os.utime(file, ns=(0, 1_700_000_000_500_000_000))
    digest = digest_of(file)
    path = objects.put(file, digest)
    assert path == tmp_path / "objects" / "e3" / digest
    assert path.stat().st_mtime_ns == 1_699_999_999_000_000_000 + 148_296_200
    for most in (f"{number:012x}".ljust(64, "0") for number in (9_999_998, 9_999_999)):
        assert seal_of(most) in (999_999_900, 100)


def test_only_objects_are_listed_and_in_order(objects: Objects, tmp_path: Path) -> None:
    names = [f"{shelf}{number:062x}" for shelf in ("ab", "0c") for number in (5, 2, 8, 1, 9, 3, 7, 4, 6)]
    for name in names:
        shelve(objects, name)
    (objects.path / "00 a file").write_bytes(b"")
    (objects.path / "0c" / "notes.txt").write_bytes(b"")
    elsewhere = Objects(tmp_path / "elsewhere", tmp_path / "quarantine", objects._digests)
    shelve(elsewhere, "01" + "0" * 62)
    (objects.path / "01").symlink_to(elsewhere.path / "01")
    assert [name for name, _ in objects] == sorted(names)


def test_a_link_among_the_objects_is_listed_as_what_it_is(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 10_000)
    link = shelve(objects, "ab" + "0" * 62)
    link.unlink()
    link.symlink_to(tmp_path / "large")
    ((_, stat),) = objects
    assert stat.st_ino == link.lstat().st_ino


def test_objects_removed_during_the_listing_are_left_out(objects: Objects) -> None:
    first, second, third = (f"ab{number:062x}" for number in range(3))
    for name in (first, second, third):
        shelve(objects, name)
    listed = iter(objects)
    assert next(listed)[0] == first
    objects.locate(second).unlink()
    assert [name for name, _ in listed] == [third]


def test_sealed_contents_are_not_read_by_default(objects: Objects) -> None:
    digest = put(objects, b"content")
    rot(objects.locate(digest))
    assert objects.fault(digest) is None
    assert "has other content" in str(objects.fault(digest, thorough=True))


def test_a_thorough_look_reads_contents_again(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing disk changes no number that the cache of digests compares."""
    digest = put(objects, b"content")
    assert objects.fault(digest, thorough=True) is None
    monkeypatch.setattr("cosybuild.store.hash_cache.digest_of", lambda path: "0" * 64)
    assert "has other content" in str(objects.fault(digest, thorough=True))


def test_an_object_is_removed_only_if_it_was_stored_before_the_horizon(objects: Objects) -> None:
    digest = put(objects, b"content")
    changed = objects.locate(digest).stat().st_ctime
    objects.remove(digest, changed)
    assert objects.fault(digest) is None
    objects.remove(digest, math.nextafter(changed, math.inf))
    assert objects.fault(digest) == "is missing"
    objects.remove(digest, math.inf)  # by two processes at once


def test_only_damaged_objects_are_quarantined(objects: Objects) -> None:
    sound, rotten = put(objects, b"sound"), put(objects, b"rotten")
    rot(objects.locate(rotten))
    assert objects.set_aside(sound, 5, thorough=True) is None
    assert objects.set_aside(rotten, 6, thorough=False) is None  # no check has read the content
    moved = objects.set_aside(rotten, 6, thorough=True)
    assert moved is not None
    assert moved.name.startswith(rotten)
    assert [digest for digest, _ in objects] == [sound]
    assert objects.set_aside(rotten, 6, thorough=True) is None


def test_an_object_that_two_processes_quarantine_is_reported_once(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = put(objects, b"content")
    rot(objects.locate(digest))
    looked = objects.fault
    moved: list[Path | None] = []

    def look(*arguments: object, thorough: bool = False) -> str | None:
        fault = looked(digest, thorough=thorough)
        monkeypatch.setattr(objects, "fault", looked)
        moved.append(objects.set_aside(digest, 7, thorough=True))
        return fault

    monkeypatch.setattr(objects, "fault", look)
    assert objects.set_aside(digest, 7, thorough=True) is None
    assert moved == list((objects.path.parent / "quarantine").iterdir())
