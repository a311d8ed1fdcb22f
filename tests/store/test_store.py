"""The store finds, publishes and compares results for a build."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from cosybuild.errors import StoreError
from cosybuild.store.key import CacheKey
from cosybuild.store.remote import Remote
from cosybuild.store.result import StageResult
from cosybuild.store.store import Store
from tests.modes import bound_by_modes
from tests.store.storing import again, build, in_child, key_of, overwrite, publish, rot, tree


def test_a_published_entry_is_found_by_the_next_process(store: Store, warnings: list[str]) -> None:
    key = key_of(opset="18")
    assert store.find(key) is None
    entry = build(store, key, **{"graph ünit.onnx": b"main", "graph.data": b"weights"})
    found = again(store, warnings).find(key)
    assert found == entry
    assert [file.name for file in found.outputs["graph"].files] == ["graph ünit.onnx", "graph.data"]
    assert found.outputs["graph"].path.read_bytes() == b"main"
    assert found.metrics == {"nodes": 3}
    assert warnings == []


def test_metrics_of_a_build_and_of_a_hit_are_the_same_plain_data(store: Store, warnings: list[str]) -> None:
    key = key_of()
    with store.workdir("export") as work:
        (work / "a").write_bytes(b"a")
        built = store.publish(key, StageResult({"graph": [work / "a"]}, {"shape": (2, 80), "by": {"x": 1.5}}), {})
    assert built.metrics == {"shape": [2, 80], "by": {"x": 1.5}}
    assert again(store, warnings).find(key) == built


def test_finding_and_planning_write_nothing(store: Store, warnings: list[str], tmp_path: Path) -> None:
    build(store, key_of(opset="18"), graph=b"1")
    (tmp_path / "flow.pt").write_bytes(b"weights")
    before = tree(store.path)
    reader = again(store, warnings)
    reader.find(key_of(opset="18"))
    reader.find(key_of(opset="17"))
    reader.nearest(key_of(opset="17"))
    reader.source("weights", tmp_path / "flow.pt")
    list(reader.entries())
    assert tree(store.path) == before
    never = Store(tmp_path / "never")
    assert never.find(key_of()) is None
    assert never.nearest(key_of()) is None
    never.flush()
    assert not never.path.exists()


def test_files_of_a_working_directory_are_moved(store: Store) -> None:
    with store.workdir("export") as work:
        (work / "graph").write_bytes(b"content")
        inode = (work / "graph").stat().st_ino
        entry = store.publish(key_of(), StageResult({"graph": [work / "graph"]}), {})
    assert entry.outputs["graph"].path.stat().st_ino == inode
    assert entry.outputs["graph"].path.stat().st_mode & 0o777 == 0o444


def test_an_output_outside_the_working_directory_is_copied(store: Store, tmp_path: Path) -> None:
    first = build(store, key_of("export"), graph=b"same").outputs["graph"].path
    outside = tmp_path / "outside.onnx"
    outside.write_bytes(b"outside")
    with store.workdir("simplify") as work:
        (work / "link").symlink_to(outside)
        (work / "hard").hardlink_to(outside)
        outputs = {"a": [first], "b": [outside], "c": [work / "link"], "d": [work / "hard"]}
        entry = store.publish(key_of("simplify"), StageResult(outputs), {})
    assert first.read_bytes() == b"same"
    assert outside.read_bytes() == b"outside"
    assert {slot: artifact.path.read_bytes() for slot, artifact in entry.outputs.items()} == {
        "a": b"same",
        "b": b"outside",
        "c": b"outside",
        "d": b"outside",
    }
    assert not any(artifact.path.is_symlink() for artifact in entry.outputs.values())
    outside.write_bytes(b"changed")
    assert entry.outputs["d"].path.read_bytes() == b"outside"


def test_equal_contents_are_stored_once(store: Store) -> None:
    one, two = build(store, key_of(a="1"), graph=b"same"), build(store, key_of(a="2"), graph=b"same")
    assert one.outputs["graph"].path == two.outputs["graph"].path
    assert len(list(store.objects)) == 1


def test_nearest_has_the_fewest_differences_and_the_last_use_among_equals(store: Store) -> None:
    far, old, new = key_of(a="1", b="1", c="1"), key_of(a="1", b="2", c="2"), key_of(a="2", b="1", c="2")
    for key in (new, old, far):
        assert build(store, key, graph=b"x").key == key
    build(store, CacheKey("simplify", key_of(a="2", b="2", c="2").parts), graph=b"x")
    for age, key in enumerate([new, old, far]):  # afterwards, because a build records the use of earlier results
        path = store.entry_path(key.stage, key.digest)
        os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))
    asked = key_of(a="2", b="2", c="2")
    assert store.nearest(asked) == new
    assert store.nearest(old) == old
    assert store.nearest(CacheKey("engine", {})) is None


def test_nearest_passes_over_a_damaged_entry(store: Store) -> None:
    near, far = key_of(a="1", b="1"), key_of(a="2", b="2")
    build(store, near, graph=b"1")
    build(store, far, graph=b"2")
    overwrite(store.entry_path(near.stage, near.digest), 40)
    (store.layout.entries / "export" / f"{'0' * 64}.json").symlink_to("gone")
    (store.layout.entries / "export" / f"{'1' * 64}.json").mkdir()
    assert store.nearest(key_of(a="1", b="9")) == far


def test_a_newer_store_is_not_changed(store: Store, warnings: list[str]) -> None:
    from cosybuild.store import layout

    build(store, key_of(), graph=b"1")
    store.layout.version.write_bytes(layout._version_line(2))
    with pytest.raises(StoreError, match="version 2; this cosybuild reads version 1") as caught:
        again(store, warnings)
    assert "upgrade" in str(caught.value.hint)


def test_publishing_a_key_again_without_its_lock_keeps_the_first(store: Store, warnings: list[str]) -> None:
    key = key_of()
    with store.workdir("export") as one, store.workdir("export") as two:
        first = publish(store, key, one, {"graph": b"first"})
        assert publish(store, key, two, {"graph": b"second"}) == first
    assert again(store, warnings).find(key) == first


def test_a_process_that_lost_the_lock_keeps_the_entry_of_the_other(store: Store, warnings: list[str]) -> None:
    key = key_of()
    with store.building(key), store.workdir("export") as work:
        for record in (store.layout.locks / key.digest).iterdir():
            record.unlink()
        theirs = in_child(lambda: build(Store(store.path), key, graph=b"theirs"))
        assert publish(store, key, work, {"graph": b"ours"}) == theirs
    assert "was lost" in warnings[0]
    assert again(store, warnings).find(key) == theirs


def test_the_holder_of_the_lock_replaces_an_entry(store: Store, warnings: list[str]) -> None:
    key = key_of()
    build(store, key, graph=b"old")
    new = build(store, key, graph=b"new")
    assert again(store, warnings).find(key) == new


def test_a_failed_build_leaves_no_file(store: Store) -> None:
    key = key_of()

    def fail() -> None:
        with store.building(key), store.workdir("export") as work:
            (work / "half").write_bytes(b"half")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        fail()
    assert store.find(key) is None
    assert list(store.layout.tmp.iterdir()) == []
    assert list(store.layout.locks.iterdir()) == []


def test_a_missing_source_is_an_error_with_its_path(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no such\.pt: No such file") as caught:
        store.source("weights", tmp_path / "no such.pt")
    assert caught.value.hint == "Next: check the path and its mode"


def test_a_source_is_known_by_its_slot_its_name_and_its_content(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flow.pt").write_bytes(b"weights")
    (tmp_path / "flow.yaml").write_bytes(b"shape")
    source = store.source("weights", tmp_path / "flow.pt", tmp_path / "flow.yaml")
    assert source.name == "weights"
    assert [(file.name, file.path.read_bytes(), file.size) for file in source.files] == [
        ("flow.pt", b"weights", 7),
        ("flow.yaml", b"shape", 5),
    ]
    monkeypatch.setattr("cosybuild.store.hash_cache.digest_of", lambda path: "0" * 64)  # damage that changes no stamp
    assert store.source("weights", tmp_path / "flow.pt", tmp_path / "flow.yaml") == source
    store.verify = True
    assert store.source("weights", tmp_path / "flow.pt").digest == "0" * 64


def test_a_read_only_store_serves_hits(store: Store, warnings: list[str]) -> None:
    key = key_of()
    entry = build(store, key, graph=b"1")
    directories = [store.path, *(path for path in store.path.rglob("*") if path.is_dir())]
    for directory in directories:
        directory.chmod(0o555)

    reader = Store(store.path, warn=warnings.append)
    errors = []
    with bound_by_modes():
        hit = reader.find(key)
        reader.source("weights", Path(__file__))
        reader.flush()
        with pytest.raises(StoreError) as caught:
            build(reader, key_of(a="2"), graph=b"2")
        errors.append(str(caught.value))
        with pytest.raises(StoreError) as caught, reader.workdir("export"):
            pass
        errors.append(str(caught.value))
    for directory in directories:
        directory.chmod(0o755)
    assert hit == entry
    assert warnings == []
    assert all(str(store.path) in error and "permission denied" in error and "Next:" in error for error in errors)


def test_the_error_explains_a_path_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="too long") as caught:
        build(Store(tmp_path.joinpath(*["x" * 200] * 25)), key_of(), graph=b"1")
    assert "shorter" in str(caught.value.hint)


def test_the_error_explains_a_file_in_place_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"")
    with pytest.raises(StoreError, match="not a directory"):
        build(Store(tmp_path / "store"), key_of(), graph=b"1")


def test_the_error_for_an_entry_that_cannot_be_written_names_the_store(store: Store, tmp_path: Path) -> None:
    giver = Store(tmp_path / "giver", remote=Remote((tmp_path / "remote").as_uri()))
    giver.push(build(giver, key_of(), graph=b"1"))
    store.remote = giver.remote
    store.layout.prepare()
    store.layout.entries.mkdir()
    (store.layout.entries / "export").write_bytes(b"")
    words = f"Cannot write the store {store.path}: a file stands where"
    with pytest.raises(StoreError, match=re.escape(words)):
        build(store, key_of(), graph=b"1")
    with pytest.raises(StoreError, match=re.escape(words)):
        store.pull(key_of())


def test_a_moved_store_reads_no_contents_again(store: Store, warnings: list[str], tmp_path: Path) -> None:
    key = key_of()
    build(store, key, graph=b"content")
    moved = tmp_path / "moved"
    store.path.rename(moved)
    path = next(iter(Store(moved).entries())).outputs["graph"].path
    rot(path)  # a reader would notice
    assert Store(moved, warn=warnings.append).find(key) is not None


def test_a_store_copied_without_its_times_is_read_once(store: Store, warnings: list[str], tmp_path: Path) -> None:
    key = key_of()
    build(store, key, graph=b"content")
    copied = tmp_path / "copied"
    shutil.copytree(store.path, copied, copy_function=shutil.copy)
    first = Store(copied, warn=warnings.append)
    assert first.find(key) is not None
    first.flush()
    assert len(first.layout.digests.read_text().splitlines()) > 2
    assert warnings == []


def test_a_use_is_noted_on_flush_if_the_last_is_long_ago(store: Store, warnings: list[str]) -> None:
    key = key_of()
    build(store, key, graph=b"1")
    path = store.entry_path(key.stage, key.digest)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    later = again(store, warnings)
    later.find(key)
    assert path.stat().st_mtime == 1_000_000_000
    later.flush()
    noted = path.stat().st_mtime_ns
    assert noted > 1_700_000_000_000_000_000
    later.find(key)
    later.flush()
    assert path.stat().st_mtime_ns == noted


def test_an_entry_removed_after_its_use_is_no_error(store: Store, warnings: list[str]) -> None:
    build(store, key_of(), graph=b"1")
    reader = again(store, warnings)
    assert reader.find(key_of()) is not None
    reader.entry_path("export", key_of().digest).unlink()
    reader.flush()
    assert reader.find(key_of()) is None
    assert warnings == []
