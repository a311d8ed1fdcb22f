"""A directory becomes a store at the first write, and states its layout."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from cosybuild.errors import StoreError
from cosybuild.store.layout import Layout

TEXT = "cosybuild store 1"
LINE = f"{TEXT} {hashlib.sha256(TEXT.encode()).hexdigest()[:16]}\n".encode()


def test_all_paths_are_below_one_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    layout = Layout(Path("store"), pytest.fail)
    below = [
        layout.version,
        layout.objects,
        layout.entries,
        layout.tmp,
        layout.locks,
        layout.quarantine,
        layout.digests,
    ]
    names = ["VERSION", "objects", "entries", "tmp", "locks", "quarantine", "digests"]
    assert below == [tmp_path / "store" / name for name in names]
    assert layout.path == tmp_path / "store"
    assert not layout.path.exists()


def test_only_the_first_write_marks_the_directory(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "store", pytest.fail)
    layout.prepare()
    assert layout.version.read_bytes() == LINE
    for later in (layout, Layout(tmp_path / "store", pytest.fail)):
        os.utime(layout.version, (0, 0))
        later.prepare()
        assert layout.version.stat().st_mtime == 0
    assert list(layout.tmp.iterdir()) == []


@pytest.mark.parametrize(
    "line", [b"", b"\xff\xfe", LINE[:-1], LINE.replace(b" 1 ", b" 2 "), LINE.replace(b" 1 ", b" x "), b"x " + LINE]
)
def test_a_damaged_mark_gives_a_warning_and_is_written_again(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "VERSION").write_bytes(line)
    warned: list[str] = []
    layout = Layout(tmp_path, warned.append)
    assert warned == [f"{tmp_path / 'VERSION'} is damaged; version 1 is assumed, and the file will be written again."]
    assert layout.version.read_bytes() == line, "reading writes nothing"
    layout.prepare()
    assert layout.version.read_bytes() == LINE


@pytest.mark.parametrize("number", [0, 2, 10])
def test_a_store_of_another_layout_is_not_changed(tmp_path: Path, number: int) -> None:
    text = f"cosybuild store {number}"
    mark = f"{text} {hashlib.sha256(text.encode()).hexdigest()[:16]}\n"
    (tmp_path / "VERSION").write_text(mark)
    with pytest.raises(StoreError) as caught:
        Layout(tmp_path, pytest.fail)
    assert str(caught.value) == (
        f"{tmp_path} is a store of version {number}; this cosybuild reads version 1.\n"
        "Next: upgrade cosybuild, or set store.path to another directory"
    )
    assert (tmp_path / "VERSION").read_text() == mark


def test_the_error_names_a_store_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    (tmp_path / "store" / "VERSION").mkdir(parents=True)
    with pytest.raises(StoreError, match="Cannot read the store") as caught:
        Layout(tmp_path / "store", pytest.fail)
    assert str(tmp_path / "store") in str(caught.value)
    layout = Layout(tmp_path / "later", pytest.fail)
    layout.path.write_bytes(b"a file came in between")
    with pytest.raises(StoreError, match="Cannot write the store") as caught:
        layout.prepare()
    assert str(layout.path) in str(caught.value)
