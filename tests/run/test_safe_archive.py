"""Archives have the same bytes each time, and only members that the index lists with their digest are unpacked."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cosybuild.errors import ConfigurationError
from cosybuild.run.safe_archive import Bounds, Form, open_archive, pack, unpack_archive
from cosybuild.system.json_records import SCHEMA

FORM = Form("parcel", "parcel.json", ("run", "store"), "send it again")
CONTENT = {"run/report.json": b"{}", "store/ab/abc": b"weights" * 1000, "run/empty": b""}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    found = {}
    for name, content in CONTENT.items():
        found[name] = tmp_path / "from" / name
        found[name].parent.mkdir(parents=True, exist_ok=True)
        found[name].write_bytes(content)
    return found


@dataclass(frozen=True)
class Index:
    run: str | None = None


def listed(members: Mapping[str, bytes]) -> dict[str, Any]:
    return {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in members.items()}


def forged(path: Path, members: list[tuple[str | tarfile.TarInfo, bytes]], index: Any = None, **facts: Any) -> Path:
    """Write an archive by hand: `index`, or by default a correct index, and then the members."""
    plain = {"schema": SCHEMA, "kind": "parcel", "files": listed({str(n): d for n, d in members}), **facts}
    data = json.dumps(plain).encode() if index is None else index
    with tarfile.open(path, "w:gz") as archive:
        for name, content in [(FORM.index, data), *members]:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content))
    return path


def refused(path: Path, bounds: Bounds = Bounds()) -> str:  # noqa: B008 - frozen
    with pytest.raises(ConfigurationError) as raised, unpack_archive(FORM, path, bounds, Index):
        pytest.fail("it was taken in")
    return raised.value.message


def test_packed_files_are_unpacked_unchanged(files: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "a.tar.gz"
    pack(FORM, target, {"run": "a"}, files)
    with unpack_archive(FORM, target, Bounds(), Index) as (place, index):
        assert {p.relative_to(place).as_posix(): p.read_bytes() for p in place.rglob("*") if p.is_file()} == CONTENT
        assert index == Index("a")
    assert not place.exists()
    with open_archive(FORM, target, Bounds()) as (package, digest):
        assert digest == hashlib.sha256(target.read_bytes()).hexdigest()
        package.unpack(tmp_path / "some", lambda name: name == "run/empty")
    assert [p.name for p in (tmp_path / "some").rglob("*") if p.is_file()] == ["empty"]


def test_equal_content_gives_equal_bytes_for_any_times_modes_and_order(files: dict[str, Path], tmp_path: Path) -> None:
    pack(FORM, tmp_path / "a.tar.gz", {"run": "a"}, files)
    for path in files.values():
        os.utime(path, (1, 1))
        path.chmod(0o600)
    pack(FORM, tmp_path / "b.tar.gz", {"run": "a"}, dict(reversed(files.items())))
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()


@pytest.mark.parametrize("name", ["other/a", "run", "run/../a", "/run/a", "run//a", "run/a\\b", "run/-a", "run/a:b"])
def test_a_name_that_unpacking_refuses_is_not_packed(files: dict[str, Path], tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a member"):
        pack(FORM, tmp_path / "a.tar.gz", {}, {name: files["run/empty"]})
    assert not (tmp_path / "a.tar.gz").exists()
    assert "has a path outside the archive" in refused(forged(tmp_path / "b.tar.gz", [(name, b"")]))


def test_a_member_that_differs_from_the_index_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    right = listed({"run/a": b"abc"})
    assert "'run/a' does not match" in refused(forged(path, [("run/a", b"abd")], files=right))
    assert "'run/a' does not match" in refused(forged(path, [("run/a", b"abcd")], files=right))
    assert "it lacks 'run/a'" in refused(forged(path, [], files=right))
    assert "not listed" in refused(forged(path, [("run/a", b"abc"), ("run/b", b"")], files=right))
    assert "occurs twice" in refused(forged(path, [("run/a", b"abc"), ("run/a", b"abc")], files=right))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_only_regular_files_are_accepted(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("run/a")
    member.type, member.linkname = kind, "/etc/passwd"
    path = forged(tmp_path / "a.tar.gz", [(member, b"")], files=listed({"run/a": b""}))
    assert "is not a regular file" in refused(path)


@pytest.mark.parametrize(("names", "why"), [
    (("run/a", "run/A"), "differ only in upper and lower case"),
    (("run/a", "run/a/b"), "is below another member, 'run/a'"),
])  # fmt: skip
def test_names_that_collide_on_some_system_are_refused(tmp_path: Path, names: tuple[str, str], why: str) -> None:
    assert why in refused(forged(tmp_path / "a.tar.gz", [(name, b"") for name in names]))


def test_an_archive_beyond_the_bounds_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = forged(tmp_path / "a.tar.gz", [("run/a", b"\0" * 100_000)])
    assert "it unpacks to 100,000 bytes" in refused(path, Bounds(always=99_999, ratio=1))
    assert "it unpacks to 100,000 bytes" in refused(path, Bounds(always=200_000, most=99_999))
    with unpack_archive(FORM, path, Bounds(always=100_000), Index) as (place, _):
        assert (place / "run/a").stat().st_size == 100_000


@pytest.mark.parametrize(("index", "why"), [
    (b"{", "is not JSON"),
    (json.dumps({"schema": SCHEMA, "kind": "letter", "files": {}}).encode(), "it is a 'letter'"),
    (json.dumps({"schema": SCHEMA + 1, "kind": "parcel", "files": {}}).encode(), f"of schema {SCHEMA + 1}"),
    (json.dumps({"schema": SCHEMA, "kind": "parcel"}).encode(), "files"),
    (json.dumps({"schema": SCHEMA, "kind": "parcel", "files": {"run/a": {"sha256": "", "size": -1}}}).encode(), "size"),
])  # fmt: skip
def test_an_invalid_index_is_refused(tmp_path: Path, index: bytes, why: str) -> None:
    assert why in refused(forged(tmp_path / "a.tar.gz", [], index))


def test_a_file_that_is_no_archive_or_is_truncated_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    pack(FORM, path, {}, files)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[:40], whole[: len(whole) // 2]):
        path.write_bytes(content)
        assert str(path) in refused(path)
    path.unlink()
    assert "cannot be read: No such file or directory" in refused(path)


def test_another_archive_than_the_signed_one_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    pack(FORM, path, {}, files)
    with open_archive(FORM, path, Bounds(), hashlib.sha256(path.read_bytes()).hexdigest()):
        pass
    with (
        pytest.raises(ConfigurationError, match="it changed after its signature"),
        open_archive(FORM, path, Bounds(), "0" * 64),
    ):
        pytest.fail("it was taken in")
