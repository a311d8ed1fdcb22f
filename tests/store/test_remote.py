"""The remote: a directory, and a real S3 server on loopback that may end slowly."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cosybuild.errors import MissingRequirement, StoreError
from cosybuild.store.key import CacheKey
from cosybuild.store.remote import Remote
from cosybuild.store.store import Store
from tests.s3 import Server
from tests.store.storing import build, key_of, overwrite, tree


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def team(tmp_path: Path) -> str:
    return f"file://{tmp_path}/the teäm's store"


def store_with(tmp_path: Path, name: str, remote: Remote, warnings: list[str]) -> Store:
    return Store(tmp_path / name, remote=remote, warn=warnings.append)


def remote_files(tmp_path: Path) -> Path:
    return tmp_path / "the teäm's store"


def give(tmp_path: Path, url: str, warnings: list[str], key: CacheKey, options: dict[str, str] | None = None) -> Store:
    giver = store_with(tmp_path, "giver", Remote(url, options), warnings)
    giver.push(build(giver, key, **{"graph ü.onnx": b"main" * 1000, "graph.data": b"weights" * 1000}))
    return giver


def test_a_pushed_entry_can_be_pulled(tmp_path: Path, team: str, warnings: list[str]) -> None:
    key = key_of()
    giver = give(tmp_path, team, warnings, key)
    taker = store_with(tmp_path, "taker", Remote(team), warnings)
    assert taker.find(key) is None
    pulled = taker.pull(key)
    assert pulled is not None
    given = giver.find(key)
    assert given is not None
    assert [(file.name, file.digest) for file in pulled.files] == [(file.name, file.digest) for file in given.files]
    assert pulled.outputs["graph"].path.read_bytes() == b"main" * 1000
    assert (pulled.metrics, pulled.made) == (given.metrics, given.made)
    assert Store(tmp_path / "taker", verify=True).find(key) == pulled
    assert warnings == []
    assert not list(remote_files(tmp_path).rglob("*.part"))


def test_nothing_is_fetched_or_sent_twice(tmp_path: Path, team: str, warnings: list[str]) -> None:
    giver = give(tmp_path, team, warnings, key_of())
    objects = tree(remote_files(tmp_path) / "objects")
    entry = giver.find(key_of())
    assert entry is not None
    giver.push(entry)
    assert tree(remote_files(tmp_path) / "objects") == objects
    other = key_of(a="2")
    giver.push(build(giver, other, **{"graph ü.onnx": b"main" * 1000, "new": b"new"}))
    taker = store_with(tmp_path, "taker", Remote(team), warnings)
    assert taker.pull(key_of()) is not None
    # With its main file damaged, the remote helps only a store that has this file.
    overwrite(next(path for path in (remote_files(tmp_path) / "objects").rglob("*") if path.stat().st_size == 4000))
    assert taker.pull(other) is not None
    assert warnings == []


def test_an_entry_that_the_remote_does_not_have_is_absent(tmp_path: Path, team: str, warnings: list[str]) -> None:
    taker = store_with(tmp_path, "taker", Remote(team), warnings)
    assert taker.pull(key_of()) is None
    assert warnings == []


def test_without_push_nothing_is_uploaded(tmp_path: Path, team: str, warnings: list[str]) -> None:
    giver = store_with(tmp_path, "giver", Remote(team, push=False), warnings)
    giver.push(build(giver, key_of(), graph=b"1"))
    assert not remote_files(tmp_path).exists()


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        ("flip", "has other content than its name says (7000 of 7000 bytes came)"),
        ("truncate", "has other content than its name says (6999 of 7000 bytes came)"),
        ("grow", "has other content than its name says (7004 of 7000 bytes came)"),
        ("delete", "is missing"),
    ],
)
def test_a_damaged_remote_object_is_named_and_repaired_by_the_next_push(
    tmp_path: Path, team: str, warnings: list[str], harm: str, what: str
) -> None:
    key = key_of()
    give(tmp_path, team, warnings, key)
    victim = next(path for path in (remote_files(tmp_path) / "objects").rglob("*") if path.stat().st_size == 7000)
    right = victim.read_bytes()
    victim.chmod(0o644)
    if harm == "flip":
        overwrite(victim, 100)
    elif harm == "delete":
        victim.unlink()
    else:
        victim.write_bytes(right[:-1] if harm == "truncate" else right + b"more")
    taker = store_with(tmp_path, "taker", Remote(team), warnings)
    assert taker.pull(key) is None
    assert len(warnings) == 1
    assert f"objects/{victim.parent.name}/{victim.name} {what}; graph.data is not used" in warnings[0]
    assert taker.find(key) is None
    assert list(taker.layout.tmp.iterdir()) == []
    taker.push(build(taker, key, **{"graph ü.onnx": b"main" * 1000, "graph.data": b"weights" * 1000}))
    assert victim.read_bytes() == right
    mended = tree(remote_files(tmp_path) / "objects")
    taker.push(build(taker, key, **{"graph ü.onnx": b"main" * 1000, "graph.data": b"weights" * 1000}))
    assert tree(remote_files(tmp_path) / "objects") == mended
    assert store_with(tmp_path, "third", Remote(team), warnings).pull(key) is not None
    assert len(warnings) == 1


def test_a_damaged_or_hostile_remote_entry_is_named_and_not_used(
    tmp_path: Path, team: str, warnings: list[str]
) -> None:
    key = key_of()
    give(tmp_path, team, warnings, key)
    path = next((remote_files(tmp_path) / "entries").rglob("*.json"))
    right = path.read_bytes()
    for wrong in (right.replace(b"graph.data", b"../up.data"), right[:50], b"", b"[" * 100_000):
        warnings.clear()
        path.write_bytes(wrong)
        taker = store_with(tmp_path, "taker", Remote(team), warnings)
        assert taker.pull(key) is None
        assert str(path.name) in warnings[0]
        assert list(taker.layout.objects.rglob("*")) == []


def test_an_entry_under_another_name_is_refused(tmp_path: Path, team: str, warnings: list[str]) -> None:
    give(tmp_path, team, warnings, key_of(opset="18"))
    path = next((remote_files(tmp_path) / "entries").rglob("*.json"))
    path.rename(path.with_name(f"{key_of(opset='17').digest}.json"))
    taker = store_with(tmp_path, "taker", Remote(team), warnings)
    assert taker.pull(key_of(opset="17")) is None
    assert "does not match its name" in warnings[0]


def test_a_remote_that_cannot_be_written_costs_one_warning(tmp_path: Path, warnings: list[str]) -> None:
    (tmp_path / "file").write_bytes(b"")
    giver = store_with(tmp_path, "giver", Remote(f"file://{tmp_path}/file/below"), warnings)
    for number in range(3):
        giver.push(build(giver, key_of(a=str(number)), graph=b"1"))
        assert giver.pull(key_of(a=str(number))) is None
    assert len(warnings) == 1
    assert f"file://{tmp_path}/file/below" in warnings[0]


def test_a_wrong_url_is_an_error(tmp_path: Path, warnings: list[str]) -> None:
    with pytest.raises(StoreError, match="nonsense"):
        store_with(tmp_path, "taker", Remote("nonsense://x"), warnings).pull(key_of())


def test_a_missing_package_is_named(tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingRequirement, match="gcsfs") as caught:
        store_with(tmp_path, "taker", Remote("gs://bucket/x"), warnings).pull(key_of())
    assert "cosybuild[gcs]" in str(caught.value.hint)


def test_fsspec_is_not_imported_without_a_remote() -> None:
    code = (
        "import sys, tempfile, pathlib\n"
        "from cosybuild.store.store import Store; from cosybuild.store.key import CacheKey\n"
        "store = Store(pathlib.Path(tempfile.mkdtemp()))\n"
        "assert store.find(CacheKey('a', {})) is None and store.pull(CacheKey('a', {})) is None\n"
        "assert not {'fsspec', 's3fs', 'botocore', 'aiohttp'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_memory_file_system_is_supported(tmp_path: Path, warnings: list[str]) -> None:
    give(tmp_path, "memory://team", warnings, key_of())
    assert store_with(tmp_path, "taker", Remote("memory://team"), warnings).pull(key_of()) is not None
    assert warnings == []


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.files().mkdir("team")
    yield server
    server.stop()


def test_entries_are_pushed_and_pulled_over_s3(tmp_path: Path, server: Server, warnings: list[str]) -> None:
    key = key_of()
    giver = give(tmp_path, "s3://team/some/prefix", warnings, key, server.options)
    big = key_of(a="big")
    giver.push(build(giver, big, graph=bytes(range(256)) * 4 * 60_000))  # larger than one part of an upload
    taker = store_with(tmp_path, "taker", Remote("s3://team/some/prefix", server.options), warnings)
    assert taker.pull(key) is not None
    pulled = taker.pull(big)
    assert pulled is not None
    assert Store(tmp_path / "taker", verify=True).find(big) == pulled
    assert taker.pull(key_of(a="absent")) is None
    assert warnings == []


def test_a_corrupted_object_on_s3_never_becomes_visible(tmp_path: Path, server: Server, warnings: list[str]) -> None:
    key = key_of()
    give(tmp_path, "s3://team/x", warnings, key, server.options)
    files = server.files()
    victim = next(name for name in files.find("team/x/objects") if files.info(name)["size"] == 7000)
    files.pipe_file(victim, b"weightS" * 1000)
    taker = store_with(tmp_path, "taker", Remote("s3://team/x", server.options), warnings)
    assert taker.pull(key) is None
    assert victim.rpartition("/")[2] in warnings[0]
    assert taker.find(key) is None
    taker.push(build(taker, key, **{"graph ü.onnx": b"main" * 1000, "graph.data": b"weights" * 1000}))
    assert store_with(tmp_path, "third", Remote("s3://team/x", server.options), warnings).pull(key) is not None
    assert len(warnings) == 1


def test_a_missing_bucket_costs_one_warning(tmp_path: Path, server: Server, warnings: list[str]) -> None:
    giver = store_with(tmp_path, "giver", Remote("s3://nobody/x", server.options), warnings)
    assert giver.pull(key_of()) is None
    giver.push(build(giver, key_of(), graph=b"1"))
    giver.push(build(giver, key_of(a="2"), graph=b"1"))
    assert len(warnings) == 1
    assert "s3://nobody/x" in warnings[0]


def test_a_server_that_is_down_costs_one_warning(tmp_path: Path, server: Server, warnings: list[str]) -> None:
    server.stop()
    taker = store_with(tmp_path, "taker", Remote("s3://team/x", server.options), warnings)
    assert taker.pull(key_of()) is None
    entry = build(taker, key_of(), graph=b"1")
    taker.push(entry)
    assert taker.pull(key_of(a="2")) is None
    assert len(warnings) == 1
    assert "s3://team/x" in warnings[0]
    assert "\n" not in warnings[0]
    assert taker.find(key_of()) == entry


class Cutter:
    """A proxy of the server that ends, with all its connections, after this number of bytes."""

    def __init__(self, port: int, allowance: int) -> None:
        self._target = port
        self._left = allowance
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._open += [client, server]
            threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if counted:
                    self._left -= len(data)
                    if self._left < 0:
                        self.die()
                        return
                sink.sendall(data)

    def die(self) -> None:
        for end in [self._listener, *self._open]:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def test_a_server_that_dies_during_a_pull_costs_one_warning(
    tmp_path: Path, server: Server, warnings: list[str]
) -> None:
    key = key_of()
    giver = store_with(tmp_path, "giver", Remote("s3://team/x", server.options), warnings)
    content = bytes(range(256)) * 4 * 20_000
    giver.push(build(giver, key, small=b"small", graph=content))
    cutter = Cutter(server.port, 5_000_000)
    options = {**server.options, "endpoint_url": f"http://127.0.0.1:{cutter.port}"}
    taker = store_with(tmp_path, "taker", Remote("s3://team/x", options), warnings)
    assert taker.pull(key) is None
    assert len(warnings) == 1
    assert taker.find(key) is None
    assert list(taker.layout.tmp.iterdir()) == []
    assert not taker.objects.locate(giver_digest(giver, key)).exists()
    assert build(taker, key, small=b"small", graph=content).size == len(content) + 5
    assert store_with(tmp_path, "third", Remote("s3://team/x", server.options), warnings).pull(key) is not None


def giver_digest(giver: Store, key: CacheKey) -> str:
    entry = giver.find(key)
    assert entry is not None
    return entry.files[1].digest
