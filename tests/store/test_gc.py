"""gc, the full check and the inventory: nothing in use is removed, and all damage is found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from cosybuild.errors import StoreError
from cosybuild.store import gc
from cosybuild.store.check import check
from cosybuild.store.gc import Collected, Removed, collect
from cosybuild.store.inventory import take_inventory
from cosybuild.store.key import CacheKey
from cosybuild.store.store import Store
from tests.store.storing import build, key_of, overwrite, rot, tree

DAY = 86400.0


def used(store: Store, key: CacheKey, days_ago: float) -> None:
    when = time.time() - days_ago * DAY
    os.utime(store.entry_path(key.stage, key.digest), (when, when))


def fill(store: Store, count: int = 4) -> list[CacheKey]:
    """Fill the store with entries of 1000 bytes; number n was used n days ago."""
    keys = [key_of(number=str(number)) for number in range(count)]
    for number, key in enumerate(keys):
        build(Store(store.path), key, graph=b"%1000d" % number)
        used(store, key, number)
    return keys


def gone(collected: Collected) -> set[str]:
    return {removed.key_digest for removed in collected.entries}


def test_results_that_runs_refer_to_are_kept(store: Store) -> None:
    keys = fill(store)
    content = store.find(keys[2])
    assert content is not None
    keep = {keys[1].digest, content.outputs["graph"].digest}
    collected = collect(store, keep=keep, grace=-1)
    assert gone(collected) == {keys[0].digest, keys[3].digest}
    assert (collected.objects, collected.freed, collected.kept) == (2, 2000, 2000)
    assert [store.find(key) is not None for key in keys] == [False, True, True, False]
    assert len(list(store.objects)) == 2


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ({}, "no run refers to it"),
        ({"older_than": 2.5 * DAY}, "unused for 3.0 days"),
        ({"max_bytes": 3999}, "the store holds more than 3,999 bytes"),
    ],
)
def test_removed_entries_are_listed_with_the_reason(store: Store, limit: dict[str, Any], why: str) -> None:
    keys = fill(store)
    last = store.entry_path(keys[3].stage, keys[3].digest).stat().st_mtime
    first, *_ = collect(store, grace=-1, **limit).entries
    assert first == Removed("export", keys[3].digest, 1000, last, why)


def test_entries_are_removed_by_age(store: Store) -> None:
    keys = fill(store)
    collected = collect(store, older_than=1.5 * DAY, grace=-1)
    assert gone(collected) == {keys[2].digest, keys[3].digest}
    assert all("unused for" in removed.why for removed in collected.entries)


def test_the_least_recently_used_entries_are_removed_first_by_size(store: Store) -> None:
    keys = fill(store)
    collected = collect(store, max_bytes=2500, keep={keys[3].digest}, grace=-1)
    assert [removed.key_digest for removed in collected.entries] == [keys[2].digest, keys[1].digest]
    assert collected.kept == 2000
    assert collect(store, max_bytes=2000, grace=-1) == Collected((), 0, 0, 2000)


def test_a_dry_run_gives_the_same_result_and_changes_nothing(store: Store) -> None:
    fill(store)
    (store.layout.tmp / "left over").mkdir(parents=True)
    (store.layout.tmp / "left over" / "half").write_bytes(b"1")
    os.utime(store.layout.tmp / "left over", (0, 0))
    before = tree(store.path)
    promised = collect(store, max_bytes=2500, dry_run=True, grace=-1)
    assert tree(store.path) == before
    assert collect(store, max_bytes=2500, grace=-1) == promised


def test_a_shared_content_is_removed_with_its_last_entry(store: Store) -> None:
    one, two = key_of(a="1"), key_of(a="2")
    build(store, one, graph=b"same")
    build(store, two, graph=b"same")
    assert collect(store, keep={one.digest}, grace=-1).objects == 0
    assert store.find(one) is not None
    assert collect(store, grace=-1).objects == 1


def test_a_recent_content_is_kept(store: Store) -> None:
    key = key_of()
    build(store, key, graph=b"1")
    assert collect(store) == Collected((), 0, 0, 1)
    used(store, key, 1)
    # The entry is removed; its content is new, and a process that has not published yet may need it.
    collected = collect(store)
    assert gone(collected) == {key.digest}
    assert (collected.objects, collected.freed, collected.kept) == (0, 0, 1)
    assert len(list(store.objects)) == 1


def test_a_content_that_runs_refer_to_is_kept_without_its_entry(store: Store) -> None:
    entry = build(store, key_of(), graph=b"1")
    store.entry_path("export", entry.key.digest).unlink()
    content = entry.outputs["graph"].digest
    assert collect(store, keep={content}, grace=-1).objects == 0
    assert collect(store, grace=-1).objects == 1


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_result_used_at_the_last_moment_of_the_grace_period_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    now = 2_000_000_000.0
    build(store, key_of(), graph=b"1")
    os.utime(store.entry_path("export", key_of().digest), (now - 5, now - 5))
    monkeypatch.setattr(gc, "clock_of", lambda directory: now)
    monkeypatch.setattr(time, "time", lambda: now)
    assert collect(store, grace=5, dry_run=dry_run).entries == ()
    assert gone(collect(store, grace=4, dry_run=dry_run)) == {key_of().digest}


def test_a_result_used_since_the_oldest_build_began_is_kept(store: Store) -> None:
    key = key_of()
    build(store, key, graph=b"1")
    with store.workdir("engine") as work:
        hours_ago = time.time() - 5 * 3600
        os.utime(work.parent, (hours_ago, hours_ago))
        used(store, key, 4 / 24)
        assert collect(store).entries == ()
        used(store, key, 7 / 24)
        assert gone(collect(store, dry_run=True)) == {key.digest}
    used(store, key, 4 / 24)
    assert gone(collect(store)) == {key.digest}


def test_the_use_of_a_hit_is_noted_before_the_build_reads_it(store: Store) -> None:
    key = key_of()
    build(store, key, graph=b"1")
    used(store, key, 100)
    later = Store(store.path)
    assert later.find(key) is not None
    with later.building(key_of(b="2")):
        assert collect(store, older_than=30 * DAY).entries == ()


def test_the_uses_of_a_long_build_are_noted_again_at_its_end(store: Store) -> None:
    """gc may not know the build's run, because a run places its artifacts only at its end."""
    hit, made = key_of(a="1"), key_of(a="2")
    build(Store(store.path), hit, graph=b"1")
    assert store.find(hit) is not None
    build(store, made, graph=b"2")
    used(store, hit, 2)
    used(store, made, 2)
    store.flush()
    assert collect(Store(store.path), older_than=DAY).entries == ()


def test_working_directories_and_locks_of_dead_processes_are_removed(store: Store) -> None:
    code = (
        "import sys, os; from pathlib import Path; from cosybuild.store.store import Store\n"
        "with Store(Path(sys.argv[1])).workdir('engine') as work:\n"
        "    (work / 'half').write_bytes(b'x' * 1000); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(store.path)], check=False)
    assert take_inventory(store).working > 1000
    with store.workdir("living") as living:
        (living / "half").write_bytes(b"1")
        collect(Store(store.path))
        assert [path.name for path in living.iterdir()] == ["half"]
        assert len(list(store.layout.tmp.iterdir())) == 1


def test_working_directories_of_unknown_processes_are_removed_after_an_hour(store: Store) -> None:
    build(store, key_of(), graph=b"1")
    for name, age in [("fresh", 60), ("old", 2 * 3600)]:
        (store.layout.tmp / name).mkdir()
        (store.layout.tmp / f"{name}.part").write_bytes(b"")
        for path in (store.layout.tmp / name, store.layout.tmp / f"{name}.part"):
            os.utime(path, (time.time() - age, time.time() - age))
    collect(store)
    assert sorted(path.name for path in store.layout.tmp.iterdir()) == ["fresh", "fresh.part"]


def test_quarantined_files_are_removed_by_age_and_count_as_freed(store: Store) -> None:
    key = key_of()
    overwrite(build(store, key, graph=b"%1000d" % 1).outputs["graph"].path)
    check(Store(store.path), repair=True)
    (kept,) = store.layout.quarantine.iterdir()
    aside = kept.stat().st_size
    assert collect(store, older_than=DAY).freed == 0
    assert collect(store, older_than=DAY, grace=-1, dry_run=True).freed == aside
    assert kept.exists()
    (store.layout.quarantine / "directory in place of a content").mkdir()
    (store.layout.quarantine / "directory in place of a content" / "file").write_bytes(b"1")
    below = (store.layout.quarantine / "directory in place of a content").stat().st_size
    assert collect(store, older_than=DAY, grace=-1).freed == aside + below
    assert list(store.layout.quarantine.iterdir()) == []


def test_a_file_stored_or_quarantined_at_the_last_moment_of_the_grace_period_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = build(store, key_of(), graph=b"%1000d" % 1)
    content = entry.outputs["graph"].path
    store.entry_path("export", entry.key.digest).unlink()
    store.layout.quarantine.mkdir()
    older, newer = store.layout.quarantine / "older", store.layout.quarantine / "newer"
    older.write_bytes(b"123")
    newer.write_bytes(b"123")
    while newer.stat().st_ctime <= older.stat().st_ctime:  # within one tick
        newer.write_bytes(b"123")
    monkeypatch.setattr(store.layout, "quarantine", SimpleNamespace(glob=lambda pattern: iter((newer, older))))
    for last, freed in ((content, 0), (newer, 1000 + 3)):
        monkeypatch.setattr(gc, "clock_of", lambda directory, last=last: last.stat().st_ctime)
        assert collect(store, grace=0).freed == freed
        assert last.exists()
    assert not older.exists()


def test_a_file_that_another_gc_removes_first_is_no_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    build(store, key_of(), graph=b"1")
    (store.layout.entries / "export" / f"{'0' * 64}.json").symlink_to("gone")
    store.layout.quarantine.mkdir()
    names = [store.layout.quarantine / name for name in ("first", "second", "third")]
    for path in (names[0], names[2]):
        path.write_bytes(b"12")
    monkeypatch.setattr(store.layout, "quarantine", SimpleNamespace(glob=lambda pattern: iter(names)))
    collected = collect(store, grace=-1)
    assert gone(collected) == {key_of().digest}
    assert collected.freed == 1 + 4


def test_a_damaged_entry_keeps_no_content(store: Store) -> None:
    keys = fill(store, 2)
    overwrite(store.entry_path(keys[0].stage, keys[0].digest))
    collected = collect(store, keep={keys[1].digest}, grace=-1)
    assert (gone(collected), collected.objects, collected.kept) == ({keys[0].digest}, 1, 1000)


def test_an_entry_that_is_used_during_the_removal_of_others_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process uses an entry between gc's listing and its removal."""
    keys = fill(store, 2)
    listed = gc._read

    def read_then_used(store: Store) -> list[gc._Candidate]:
        found = listed(store)
        used(store, keys[1], -1)
        store.entry_path(keys[0].stage, keys[0].digest).unlink()  # and a second gc is at work
        return found

    monkeypatch.setattr(gc, "_read", read_then_used)
    collected = collect(store, grace=0)
    assert gone(collected) == {keys[0].digest}
    assert store.find(keys[1]) is not None


def test_the_error_names_a_store_that_cannot_be_read(store: Store) -> None:
    store.layout.prepare()
    store.layout.objects.write_bytes(b"")
    for tidy, words in ((collect, "Cannot collect garbage in"), (check, "Cannot check the store")):
        with pytest.raises(StoreError, match=re.escape(f"{words} {store.path}: a part of the path is a file")):
            tidy(store)


def test_an_empty_store_has_nothing_to_collect_check_or_list(store: Store) -> None:
    assert collect(store) == Collected((), 0, 0, 0)
    assert check(store).faults == ()
    assert take_inventory(store).rows == ()
    assert not store.path.exists()


def test_the_check_reads_everything_and_quarantines_damaged_files(store: Store, warnings: list[str]) -> None:
    keys = [key_of(a=str(number)) for number in range(5)]
    paths = [build(store, key, graph=key.digest.encode()).outputs["graph"].path for key in keys]
    rot(paths[0])
    overwrite(paths[1])
    paths[2].unlink()
    overwrite(store.entry_path(keys[3].stage, keys[3].digest), 30)
    later = Store(store.path, warn=warnings.append)
    seen = check(later, repair=False)
    assert len(list(store.layout.quarantine.glob("*"))) == 0
    done = check(later)
    assert (done.entries, done.objects) == (5, 4)
    assert {fault.path for fault in seen.faults} == {fault.path for fault in done.faults}
    by_path = {fault.path: fault for fault in done.faults}
    assert set(by_path) == {*paths[:3], store.entry_path(keys[3].stage, keys[3].digest)}
    assert by_path[paths[0]].stages == ("export",)
    assert by_path[paths[2]].moved_to is None
    assert len(list(store.layout.quarantine.iterdir())) == 3
    assert [later.find(key) is not None for key in keys] == [False, False, False, False, True]
    for key in keys:
        build(later, key, graph=key.digest.encode())
    assert check(later).faults == ()
