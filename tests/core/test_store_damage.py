"""What rots or is overwritten in a store is named, kept aside and made again; never believed."""

from __future__ import annotations

import pytest

from cosybuild.core.store import Store
from tests.core.storing import again, build, key_of, overwrite, rot


@pytest.mark.parametrize("how", ["overwrite", "truncate", "grow", "delete", "directory", "replace"])
def test_a_damaged_content_is_named_rebuilt_and_kept_aside(store: Store, warnings: list[str], how: str) -> None:
    key = key_of()
    path = build(store, key, **{"graph.onnx": b"right content"}).outputs["graph"].path
    path.chmod(0o644)
    if how == "overwrite":
        overwrite(path, 3)
    elif how == "truncate":
        path.write_bytes(b"right")
    elif how == "grow":
        path.write_bytes(b"right content and more")
    elif how == "delete":
        path.unlink()
    elif how == "directory":
        path.unlink()
        path.mkdir()
    else:
        path.unlink()
        path.write_bytes(b"wrong content")
    later = again(store, warnings)
    assert later.find(key) is None
    assert later.find(key) is None
    assert len(warnings) == 1
    assert "graph.onnx" in warnings[0]
    assert str(path) in warnings[0]
    assert later.damage(key) is not None
    assert list(later.entries()) == []
    rebuilt = build(later, key, **{"graph.onnx": b"right content"})
    assert rebuilt.outputs["graph"].path.read_bytes() == b"right content"
    assert later.damage(key) is None
    assert again(store, warnings).find(key) == rebuilt
    assert len(list(store.layout.quarantine.glob("*"))) == (0 if how == "delete" else 1)


def test_every_flipped_byte_of_an_entry_is_noticed(store: Store, warnings: list[str]) -> None:
    key = key_of(opset="18")
    entry = build(store, key, graph=b"x")
    path = store.entry_path(key.stage, key.digest)
    data = path.read_bytes()
    for offset in range(len(data)):
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])
        warnings.clear()
        found = again(store, warnings).find(key)
        # Between the values JSON allows blanks; a flipped blank that still is one changes nothing.
        assert found is None or found == entry
        assert (found is None) == (len(warnings) == 1)
        assert found is not None or str(path) in warnings[0]
    path.write_bytes(data[:-9])
    later = again(store, warnings)
    assert later.find(key) is None
    assert build(later, key, graph=b"x") == entry
    assert again(store, warnings).find(key) == entry
    assert [file.name.startswith(key.digest) for file in store.layout.quarantine.iterdir()] == [True]


def test_an_entry_moved_under_another_name_is_not_believed(store: Store, warnings: list[str]) -> None:
    build(store, key_of(opset="18"), graph=b"18")
    wanted = key_of(opset="17")
    right = store.entry_path("export", key_of(opset="18").digest)
    right.rename(store.entry_path("export", wanted.digest))
    assert store.find(wanted) is None
    assert "another key" in warnings[0]


def test_rot_that_leaves_the_times_alone_is_found_by_verify(store: Store, warnings: list[str]) -> None:
    key = key_of()
    path = build(store, key, graph=b"content").outputs["graph"].path
    rot(path)
    assert again(store, warnings).find(key) is not None
    strict = again(store, warnings, verify=True)
    assert strict.find(key) is None
    assert "other content" in warnings[0]
    build(strict, key, graph=b"content")
    assert again(store, warnings, verify=True).find(key) is not None
    assert len(list(store.layout.quarantine.iterdir())) == 1


@pytest.mark.parametrize("offset", range(35))
def test_a_flipped_bit_of_the_version_is_no_newer_version(store: Store, warnings: list[str], offset: int) -> None:
    key = key_of()
    entry = build(store, key, graph=b"1")
    right = store.layout.version.read_bytes()
    assert offset < len(right)
    overwrite(store.layout.version, offset)
    later = again(store, warnings)
    assert later.find(key) == entry
    assert "VERSION is damaged" in warnings[0]
    build(later, key_of(a="2"), graph=b"2")
    assert store.layout.version.read_bytes() == right
