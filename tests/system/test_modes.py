"""Several users of one group share a store, whatever their umasks."""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cosybuild.run.machine_check import _sharing
from cosybuild.store.check import check
from cosybuild.store.gc import collect
from cosybuild.store.store import Store
from cosybuild.system.modes import is_shared, open_to_group, share_commands, unshared_paths
from tests.store.storing import build, in_child, key_of, overwrite

GROUP, ANNE, BERT = 64001, 64002, 64003
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users")


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def acting(user: int, mask: int, function: Callable[[], Any], *, group: int = GROUP) -> Any:
    """Call `function` in a process of another user, and return its result."""

    def masked() -> Any:
        os.umask(mask)
        return function()

    return in_child(masked, uid=user, groups=[group])


def reachable(path: Path) -> None:
    """Let other users enter a directory of pytest."""
    for parent in path.parents:
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_everything_in_a_shared_store_is_readable_and_writable_for_the_group(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        open_to_group(tmp_path / "store")
        store = Store(tmp_path / "store")
        build(store, key_of(), graph=b"content")
        overwrite(store.objects.locate(next(iter(store.objects))[0]))
        check(store)
        build(store, key_of(), graph=b"content")
        store.digests.learn(tmp_path / "store" / "VERSION", "0" * 64)
        store.flush()
        collect(store)
    assert is_shared(tmp_path / "store")
    assert list(unshared_paths(tmp_path / "store")) == []
    assert {path.name for path in store.path.iterdir()} >= {"VERSION", "digests", "entries", "objects", "quarantine"}
    for directory in (p for p in store.path.rglob("*") if p.is_dir()):
        assert directory.stat().st_mode & 0o2070 == 0o2070


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_store_of_one_user_follows_the_umask(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        build(Store(tmp_path / "store"), key_of(), graph=b"content")
    for directory in (p for p in (tmp_path / "store").rglob("*") if p.is_dir()):
        assert modes.S_IMODE(directory.stat().st_mode) & 0o777 == 0o777 & ~mask


@ROOT
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_two_users_build_and_use_and_remove_and_repair_results_of_each_other(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "store"
    path.mkdir()
    os.chown(path, ANNE, GROUP)
    reachable(path)
    acting(ANNE, mask, lambda: open_to_group(path))

    def anne() -> str:
        return build(Store(path), key_of(), graph=b"content").outputs["graph"].digest

    def bert() -> tuple[bool, bool, int]:
        store = Store(path)
        with store.in_use():
            found = store.find(key_of())
            assert found is not None
            content = found.outputs["graph"].path.read_bytes()
        build(store, key_of(a="2"), graph=b"other")
        store.objects.set_aside(found.files[0].digest, 99, thorough=False)  # as if the file were damaged
        mended = build(Store(path), key_of(), graph=b"content")
        removed = collect(Store(path), grace=-1.0)
        return content == b"content", mended.files[0].digest == found.files[0].digest, len(removed.entries)

    acting(ANNE, mask, anne)
    assert acting(BERT, mask, bert) == (True, True, 2)
    assert acting(ANNE, mask, anne), "what the other has removed is built again"


def findings(path: Path) -> list[tuple[str, str, str]]:
    return [(finding.grade, finding.what, finding.fix) for finding in _sharing(path)]


def test_doctor_names_what_the_group_cannot_use(tmp_path: Path) -> None:
    assert findings(tmp_path / "none") == []
    path = tmp_path / "a store"
    with umask(0o022):
        build(Store(path), key_of(), graph=b"content")
    assert findings(path) == []
    open_to_group(path)
    ((grade, what, fix),) = findings(path)
    assert grade == "problem"
    assert "the group lacks rights on" in what
    assert fix == f"each owner of such paths runs: {share_commands(path)}"
    assert f"chmod -R g+rwX '{path}'" in fix
    os.system(share_commands(path).replace("chgrp -R GROUP", f"chgrp -R {os.getegid()}"))
    assert [grade for grade, _, _ in findings(path)] == ["ok"]


@ROOT
def test_doctor_names_a_user_who_is_not_in_the_group(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.mkdir()
    os.chown(path, ANNE, GROUP)
    reachable(path)
    ((grade, what, _),) = acting(BERT, 0o022, lambda: findings(path), group=BERT)
    assert (grade, "is not shared" in what) == ("problem", True)
    open_to_group(path)
    ((grade, what, _),) = acting(BERT, 0o022, lambda: findings(path), group=BERT)
    assert (grade, what) == (
        "problem",
        f"store {path} is shared with the group {GROUP}, but this user is not in the group",
    )
    assert [grade for grade, _, _ in acting(BERT, 0o022, lambda: findings(path))] == ["ok"]
