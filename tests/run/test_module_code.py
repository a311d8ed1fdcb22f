"""The ingredients of a module: known for installed packages, and stored for code of the user until it changes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from cosybuild.config.groups.model import TensorSettings
from cosybuild.models.user_module.trace import Trace
from cosybuild.request import Request
from cosybuild.run import module_code
from cosybuild.run.module_code import TRACES, known_code, with_code
from cosybuild.store.store import Store
from tests.stages.building import module, tiny

INPUTS, OUTPUTS = [TensorSettings("x", ("n", 64))], [TensorSettings("y", ("n", 64))]


def installed(**arguments: Any) -> Request:
    """Return a request for a class of torch."""
    request = module("Heavy", INPUTS, OUTPUTS)
    request.subject.hyperparameters["target"].clear()  # type: ignore[attr-defined]
    request.subject.hyperparameters["target"].update({"_target_": "torch.nn.Linear", **arguments})
    return request


def no_process(*arguments: Any) -> None:
    pytest.fail("a process makes the module")


def test_models_of_other_families_have_no_code_of_the_user(store: Store) -> None:
    request = tiny("cosyvoice2")
    assert with_code(request, store, pytest.fail, remember=True) is request
    assert known_code(request, store) is None


def test_a_class_of_an_installed_package_is_identified_by_versions(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_code, "call_in_subprocess", no_process)
    request = installed(in_features=4, out_features=4)
    code = with_code(request, store, pytest.fail, remember=True).subject.code
    assert code == known_code(request, store)
    assert code is not None
    assert "package torch" in code.parts
    assert not code.is_local
    assert not store.path.exists()


def test_an_argument_that_may_name_a_file_or_a_module_is_traced(store: Store, tmp_path: Path) -> None:
    (tmp_path / "table").write_text("1")
    for argument in (str(tmp_path / "table"), "a/b", "json"):
        assert known_code(installed(in_features=argument, out_features=4), store) is None


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, ...]]:
    """Replace tracing: it finds one file, `mine.py`; the list gets the learned files of each call."""
    path, calls = tmp_path / "mine.py", list[tuple[str, ...]]()
    path.write_text("one")

    class Answer:
        def __init__(self) -> None:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            self.value = Trace(files={"mine.py": (str(path), digest)}, hidden=("reads the clock",))

    def call_in_subprocess(work: Any, subject: Any, learned: tuple[str, ...], *others: Any) -> Answer:
        calls.append(learned)
        return Answer()

    monkeypatch.setattr(module_code, "call_in_subprocess", call_in_subprocess)
    return calls


def test_a_trace_is_stored_until_one_of_its_files_changes(
    store: Store, tmp_path: Path, traced: list[tuple[str, ...]]
) -> None:
    request, told = module("Heavy", INPUTS, OUTPUTS), list[str]()
    assert known_code(request, store) is None
    first = with_code(request, store, told.append, remember=True).subject.code
    assert first is not None
    assert [line.split(" ", 1)[1] for line in told[1:]] == [
        "reads the clock during its construction; keys do not contain the result, so another result causes no build"
    ]
    assert told[0].endswith("in a separate process (it is new)")
    assert with_code(request, store, pytest.fail, remember=True).subject.code == first
    assert known_code(request, store) == first
    assert len(traced) == 1
    (tmp_path / "mine.py").write_text("two")
    told.clear()
    assert known_code(request, store) is None
    second = with_code(request, store, told.append, remember=True).subject.code
    assert told[0].endswith("in a separate process (mine.py changed)")
    assert second is not None
    assert second.parts != first.parts
    assert len(traced) == 2


def test_planning_alone_stores_no_trace(store: Store, traced: list[tuple[str, ...]]) -> None:
    request = module("Heavy", INPUTS, OUTPUTS)
    for _ in range(2):
        with_code(request, store, lambda line: None, remember=False)
    assert len(traced) == 2
    assert not store.path.exists()


def test_a_damaged_trace_is_ignored(store: Store, traced: list[tuple[str, ...]]) -> None:
    request = module("Heavy", INPUTS, OUTPUTS)
    with_code(request, store, lambda line: None, remember=True)
    (memo,) = (store.layout.path / TRACES).iterdir()
    for content in (b"", b"{", b"\xff", memo.read_bytes()[:-20]):
        memo.write_bytes(content)
        assert known_code(request, store) is None
    with_code(request, store, lambda line: None, remember=True)
    assert len(traced) == 2
