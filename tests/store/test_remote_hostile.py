"""A remote that serves other files than results is ignored with a warning, and the results are built."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cosybuild.store import remote as module
from cosybuild.store.entry import DamagedEntry, decode
from cosybuild.store.remote import Remote
from cosybuild.store.store import Store
from cosybuild.system.json_records import checksum_of
from cosybuild.system.timeout import within
from tests.building.fakes import Bench, actions, complete, pipeline

NAMES = ("export", "simplify", "verify", "engine")


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """Return a remote that has all results."""
    giver = Bench(Store(tmp_path / "giver", remote=Remote((tmp_path / "team").as_uri())))
    assert complete(giver.build(pipeline()))
    return tmp_path / "team"


def taker(team: Path, warnings: list[str], name: str = "taker") -> Bench:
    return Bench(Store(team.with_name(name), remote=Remote(team.as_uri()), warn=warnings.append))


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def socket_like(path: Path) -> None:
    """Make a link that leads to itself."""
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.attack("fill or wait", "a warning, and the step is built here")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("put", [fifo, directory, endless, socket_like])
@pytest.mark.parametrize("what", ["entries/engine/*.json", "objects/*/*"])
def test_a_remote_path_that_is_no_regular_file_is_not_read(
    team: Path, warnings: list[str], put: Callable[[Path], None], what: str
) -> None:
    for path in list(team.glob(what)):
        put(path)
    bench = taker(team, warnings)
    assert complete(bench.build(pipeline()))
    assert warnings
    assert len(warnings) <= 8


@pytest.mark.attack("fill or wait", "a warning, and the step is built here")
@pytest.mark.timeout(60)
def test_a_read_that_never_returns_is_given_up(
    team: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A FIFO that looks like a file stands for a server that hangs."""
    monkeypatch.setattr(Remote, "_is_file", lambda self, files, name: True)
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.2)
    (entry,) = team.glob("entries/export/*.json")
    fifo(entry)
    bench = taker(team, warnings)
    assert complete(bench.build(pipeline()))
    assert "no data arrived for 0.2 s" in warnings[0]
    assert len(warnings) == 1, "the remote is left alone then"
    with entry.open("wb"):  # the waiting thread can end
        pass


def edited(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change an entry and give it a valid checksum."""
    document = json.loads(path.read_text(encoding="utf-8"))
    edit(document["entry"])
    document["sha256"] = checksum_of(document["entry"])
    path.write_text(json.dumps(document), encoding="utf-8")


def renamed(entry: dict[str, Any]) -> None:
    entry["outputs"] = {"other": entry["outputs"]["engine"]}


def without(entry: dict[str, Any]) -> None:
    entry["outputs"] = {}


def more(entry: dict[str, Any]) -> None:
    entry["outputs"]["graph"] = entry["outputs"]["engine"]


def empty(entry: dict[str, Any]) -> None:
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    entry["outputs"]["engine"] = [{"name": "engine.txt", "digest": digest, "size": 0}]


@pytest.mark.attack("forge", "a warning, and the step is built here")
@pytest.mark.parametrize("edit", [renamed, without, more, empty])
def test_outputs_that_do_not_belong_to_the_step_are_not_used(
    team: Path, warnings: list[str], edit: Callable[[dict[str, Any]], None]
) -> None:
    (entry,) = team.glob("entries/engine/*.json")
    shelf = team / "objects" / "e3"
    shelf.mkdir(exist_ok=True)
    (shelf / "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855").write_bytes(b"")
    edited(entry, edit)
    bench = taker(team, warnings)
    outcome = bench.build(pipeline())
    assert complete(outcome)
    assert actions(outcome) == {**dict.fromkeys(NAMES, "pulled"), "engine": "built"}
    assert len(warnings) == 1
    assert f"engine/{entry.name} holds" in warnings[0]
    # The new result replaced it.
    assert actions(taker(team, warnings, "next").build(pipeline()))["engine"] == "pulled"


@pytest.mark.attack("forge", "a warning, and the step is built here")
def test_an_entry_with_such_outputs_in_the_local_store_is_built_again(team: Path, warnings: list[str]) -> None:
    bench = taker(team, warnings)
    bench.build(pipeline())
    shutil.rmtree(team)
    (entry,) = bench.store.layout.entries.glob("engine/*.json")
    edited(entry, renamed)
    outcome = Bench(Store(bench.store.path, warn=warnings.append)).build(pipeline())
    assert complete(outcome)
    assert actions(outcome)["engine"] == "built"
    assert "holds the outputs ['other'], where its step makes ['engine']" in warnings[0]


def test_an_entry_of_a_stage_without_outputs_is_valid(tmp_path: Path) -> None:
    bench = Bench(Store(tmp_path / "store"))
    bench.build(pipeline(verify={"makes": ()}))
    (path,) = bench.store.layout.entries.glob("verify/*.json")
    assert decode(path.read_bytes(), path.stem, Path).outputs == {}
    edited(path, more_of_nothing)
    with pytest.raises(DamagedEntry, match="where its step makes"):
        decode(path.read_bytes(), path.stem, Path)


def more_of_nothing(entry: dict[str, Any]) -> None:
    entry["outputs"] = {"evidence": [{"name": "a", "digest": "0" * 64, "size": 1}]}


def test_a_call_with_a_time_limit_returns_results_and_errors() -> None:
    assert within(5, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        within(5, divmod, 7, 0)
