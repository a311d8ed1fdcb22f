"""Fixtures of tests about models: a module that was traced once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cosybuild.models.user_module.trace import Trace
from cosybuild.run.module_code import TRACES, _memo
from cosybuild.store.store import Store
from tests.models.user_module.tracing import NET, Net, code_of, enter, request_of, write_sources


@pytest.fixture(scope="session")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Trace]:
    """Return a directory, and the trace of its target as text and as data."""
    place = tmp_path_factory.mktemp("traced")
    write_sources(place)
    with pytest.MonkeyPatch.context() as patch:
        enter(place, patch)
        store = Store(place / "store")
        told: list[str] = []
        trace = code_of(NET, store, told)
        assert told == ["tracing the files that net.Net uses, in a separate process (it is new)"]
        (memo,) = (place / "store" / TRACES).iterdir()
        text = memo.read_text()
    return place, text, trace


@pytest.fixture
def net(seen: tuple[Path, str, Trace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Net:
    place = tmp_path / "copy"
    shutil.copytree(seen[0], place, symlinks=True, ignore=shutil.ignore_patterns("store", "__pycache__"))
    enter(place, monkeypatch)
    memo = _memo(request_of(NET).subject, Store(place / "store"))
    memo.parent.mkdir(parents=True)
    memo.write_text(seen[1].replace(str(seen[0]), str(place)))
    made = Net(place)
    assert made.known() is not None
    return made
