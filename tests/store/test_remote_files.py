"""The files of a remote and the order of their upload, on which all machines that share it depend."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from cosybuild.errors import ConfigurationError, MissingRequirement, StoreError
from cosybuild.store.key import CacheKey
from cosybuild.store.remote import Remote
from tests.store.storing import build, key_of, store_with

pytestmark = pytest.mark.usefixtures("empty_memory")


def opened(monkeypatch: pytest.MonkeyPatch, remote: Remote) -> dict[str, Any]:
    """Return the options that fsspec receives at the first use of the remote."""
    given: dict[str, Any] = {}

    def url_to_fs(url: str, **options: Any) -> tuple[MemoryFileSystem, str]:
        given.update(options)
        return MemoryFileSystem(), url

    monkeypatch.setattr(fsspec.core, "url_to_fs", url_to_fs)
    remote._open()
    return given


def test_the_layout_of_the_remote_is_that_of_every_earlier_store(tmp_path: Path, warnings: list[str]) -> None:
    giver = store_with(tmp_path, "giver", Remote(f"file://{tmp_path}/team/"), warnings)
    entry = build(giver, key_of(opset="18"), graph=b"")
    giver.push(entry)
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    files = {str(path.relative_to(tmp_path / "team")) for path in (tmp_path / "team").rglob("*") if path.is_file()}
    assert files == {f"objects/e3/{empty}", f"entries/export/{entry.key.digest}.json"}
    with pytest.raises(ConfigurationError, match=r"the step '\.\.', and that name names a directory"):
        giver.pull(CacheKey("..", {}))


def test_true_and_false_become_booleans_and_other_options_stay_text(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"anon": "true", "use_ssl": "false", "endpoint_url": "http://x", "mode": "True"}
    remote = Remote("memory://team", options)
    assert opened(monkeypatch, remote) == {"anon": True, "use_ssl": False, "endpoint_url": "http://x", "mode": "True"}


@pytest.mark.parametrize("protocol", ["s3", "s3a"])
def test_a_silent_s3_server_is_given_up_within_minutes(monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    patience = {"config_kwargs": {"retries": {"max_attempts": 1}}}
    assert opened(monkeypatch, Remote(f"{protocol}://bucket")) == patience
    assert opened(monkeypatch, Remote(f"{protocol}://bucket", {"anon": "true"})) == {**patience, "anon": True}
    assert opened(monkeypatch, Remote("memory://team")) == {}


def test_changes_that_a_client_makes_to_its_options_do_not_reach_the_next_remote(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """botocore makes such changes."""
    opened(monkeypatch, Remote("s3://bucket"))["config_kwargs"]["retries"]["mode"] = "legacy"
    assert opened(monkeypatch, Remote("s3://bucket")) == {"config_kwargs": {"retries": {"max_attempts": 1}}}


def test_a_remote_is_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    remote = Remote("memory://team")
    assert remote._open() is remote._open()


@pytest.mark.parametrize(
    ("url", "package"),
    [("s3://bucket", "s3fs"), ("s3a://bucket", "s3fs"), ("gcs://b", "gcsfs"), ("memory://b", "fsspec")],
)
def test_the_error_names_the_package_that_a_url_needs_and_the_setting(
    monkeypatch: pytest.MonkeyPatch, url: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingRequirement, match=package) as caught:
        Remote(url)._open()
    assert f"store.remote={url}" in caught.value.message


def test_the_error_names_a_package_that_only_fsspec_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def url_to_fs(url: str, **options: Any) -> None:
        raise ImportError("Install adlfs to access Azure")

    monkeypatch.setattr(fsspec.core, "url_to_fs", url_to_fs)
    with pytest.raises(MissingRequirement, match=r"store\.remote=abfs://x .*Install adlfs") as caught:
        Remote("abfs://x")._open()
    assert caught.value.hint == "Next: install the package that the message names"


def test_the_error_for_a_url_that_cannot_be_opened_has_an_example() -> None:
    with pytest.raises(StoreError, match=r"store\.remote=nonsense://x cannot be opened: ") as caught:
        Remote("nonsense://x")._open()
    assert caught.value.hint == "Next: give an fsspec URL such as s3://bucket/prefix, and valid options for it"


class Watched(LocalFileSystem):  # type: ignore[misc]  # fsspec is untyped
    """A file system on disk that records renames, and may refuse them."""

    cachable = False

    def __init__(self, refuse: bool) -> None:
        super().__init__()
        self.moved: list[tuple[str, str]] = []
        self.refuse = refuse

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        self.moved.append((path1, path2))
        if self.refuse:
            raise PermissionError("no")
        super().mv(path1, path2, **kwargs)


def test_directories_are_recognised_by_any_name(
    tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    remote = Remote("memory")
    remote._opened = files, _ = Watched(False), f"{tmp_path}/memory"
    giver = store_with(tmp_path, "giver", remote, warnings)
    giver.push(build(giver, key_of(), graph=b"content"))
    assert len(files.moved) == 2


def test_a_content_that_was_truncated_here_is_fetched_again(tmp_path: Path, warnings: list[str]) -> None:
    giver = store_with(tmp_path, "giver", Remote("memory://team"), warnings)
    giver.push(build(giver, key_of(a="1"), graph=b"content"))
    taker = store_with(tmp_path, "taker", Remote("memory://team"), warnings)
    path = build(taker, key_of(a="2"), graph=b"content").outputs["graph"].path
    stat = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"cont")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert taker.pull(key_of(a="1")) is not None
    assert path.read_bytes() == b"content"
    assert warnings == []


@pytest.mark.parametrize("refuse", [False, True])
def test_an_upload_has_a_temporary_name_where_incomplete_files_are_visible(
    tmp_path: Path, warnings: list[str], refuse: bool
) -> None:
    remote = Remote(f"file://{tmp_path}/team")
    remote._opened = files, _ = Watched(refuse), f"{tmp_path}/team"
    giver = store_with(tmp_path, "giver", remote, warnings)
    giver.push(build(giver, key_of(), graph=b"content"))
    assert all(f"{new}." in old and old.endswith(".part") for old, new in files.moved)
    assert len({old for old, _ in files.moved}) == len(files.moved) == (1 if refuse else 2)
    left = [path for path in (tmp_path / "team").rglob("*") if path.is_file()]
    assert len(left) == (0 if refuse else 2)
    assert len(warnings) == (1 if refuse else 0)


def test_an_object_store_gets_files_under_their_own_names(
    tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = Remote("memory://by its own name")
    giver = store_with(tmp_path, "giver", remote, warnings)
    given: list[str] = []
    for how in ("pipe_file", "put_file"):
        put = getattr(MemoryFileSystem, how)

        def note(files: Any, first: str, second: Any, *rest: Any, how: str = how, put: Any = put, **more: Any) -> None:
            given.append(f"{how} {str(second if how == 'put_file' else first).partition('name/')[2].partition('/')[0]}")
            put(files, first, second, *rest, **more)

        monkeypatch.setattr(MemoryFileSystem, how, note)
    entry = build(giver, key_of(), graph=b"content")
    giver.push(entry)
    giver.push(entry)
    assert [call for call in given if call.startswith("put")] == ["put_file objects"]
    assert given[-1] == "pipe_file entries"
    assert warnings == []
