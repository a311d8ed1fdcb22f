"""The trace of a target: recorded in a subprocess, then compared after every kind of change."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cosybuild.models.user_module.trace import Trace, trace_from_json
from cosybuild.request import Request
from cosybuild.run import module_code
from cosybuild.run.module_code import known_code
from cosybuild.stages.export import ExportStage
from cosybuild.store.store import Store
from tests.models.user_module.tracing import INSTALLED, SOURCES, Net, code_of, request_of


def test_the_trace_has_everything_that_the_module_reads(seen: tuple[Path, str, Trace]) -> None:
    _, text, trace = seen
    files = {"net.py", "pkg/__init__.py", "pkg/block.py", "lazily.py", "data/table.txt", "scale"}
    files |= {"elsewhere/native.bin", "elsewhere/tensors.txt"}
    assert set(trace.files) == files
    assert set(trace.directories) == {"data/parts"}
    assert [Path(path).name for path in trace.absent] == ["tuned.txt"]
    assert {"net", "pkg", "pkg.block", "lazily", "torch", "acme", "extra_speed"} <= set(trace.modules)
    assert {"acme", "torch", "numpy"} <= set(trace.packages)
    assert "cosybuild" not in trace.packages
    assert trace_from_json(text) == trace
    assert set(trace.parts) == {*files, "names in data/parts", *(f"package {name}" for name in trace.packages)}
    settings = ExportStage().settings(with_trace(trace))
    assert settings["code"] == trace.parts
    assert "code" not in ExportStage().settings(with_trace(None))


def with_trace(trace: Trace | None) -> Request:
    request = request_of({"_target_": "torch.nn.Conv1d"})
    return replace(request, subject=replace(request.subject, code=trace))


CHANGES: dict[str, Callable[[Net], object]] = {
    "the target's own file": lambda n: n.write("net.py", SOURCES["net.py"].replace("K\n", "K \n")),
    "the module that a package re-exports from": lambda n: n.write("pkg/block.py", SOURCES["pkg/block.py"] + "#"),
    "a package's __init__": lambda n: n.write("pkg/__init__.py", "from pkg.block import Block #\n"),
    "a module imported by the first call": lambda n: n.write("lazily.py", "K = 4.0\n"),
    "a data file of the same size and time": lambda n: n.write("data/table.txt", "4.0\n"),
    "a data file taken away": lambda n: (n.place / "data/table.txt").unlink(),
    "a data file behind a link": lambda n: n.write("elsewhere/scale.txt", "7.0\n"),
    "a file that an argument names and native code opens": lambda n: n.write("elsewhere/native.bin", "another"),
    "a file that safetensors opens": lambda n: n.write("elsewhere/tensors.txt", "IN PLACE OF TENSORS"),
    "a link turned": lambda n: (
        (n.place / "scale").unlink(),
        (n.place / "scale").symlink_to("elsewhere/other.txt"),
    ),
    "a file that was tried and absent": lambda n: n.write("data/tuned.txt", "1.0\n"),
    "a name in a directory that was listed": lambda n: n.write("data/parts/b", ""),
    "an optional module installed": lambda n: n.write("extra_speed.py", ""),
    "a module in front of the one that was imported": lambda n: n.write("acme.py", "SIZE = 5\n"),
    "a package in front of a module": lambda n: n.write("lazily/__init__.py", "K = 1.0\n"),
    "torch in front of torch": lambda n: n.write("torch/__init__.py", ""),
    "a package upgraded": lambda n: upgrade(n, "2.0"),
    "a package built again under its version": lambda n: n.write(
        "site-packages/acme-1.0.dist-info/RECORD", "acme/__init__.py,sha256=y,9\n"
    ),
    "a package removed": lambda n: shutil.rmtree(n.place / "site-packages" / "acme-1.0.dist-info"),
    "the memo damaged": lambda n: next((n.place / "store/traces").iterdir()).write_text("{}"),
    "the memo cut off": lambda n: next((n.place / "store/traces").iterdir()).write_text('{"schema": 1,'),
    "another interpreter's path": lambda n: sys.path.insert(0, str(n.place / "elsewhere")),
}


def upgrade(net: Net, version: str) -> None:
    site = net.place / "site-packages"
    (site / "acme-1.0.dist-info").rename(site / f"acme-{version}.dist-info")
    for name in ("METADATA", "RECORD"):
        path = site / f"acme-{version}.dist-info" / name
        path.write_text(path.read_text().replace("1.0", version))


@pytest.mark.attack("stale", "the module is constructed again")
@pytest.mark.parametrize("change", CHANGES)
def test_each_change_invalidates_the_trace(net: Net, change: str) -> None:
    CHANGES[change](net)
    assert net.known() is None


@pytest.mark.parametrize(
    "change",
    [
        lambda n: n.write("unrelated.py", ""),
        lambda n: n.write("data/parts.txt", ""),
        lambda n: (n.place / "net.py").touch(),
        lambda n: n.write("site-packages/acme-1.0.dist-info/INSTALLER", "pip"),
        lambda n: os.environ.update(TABLE="5"),
    ],
)
def test_unrelated_changes_keep_the_trace_valid(
    net: Net, change: Callable[[Net], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TABLE", "4")
    before = net.known()
    change(net)
    assert net.known() == before


def test_the_same_content_elsewhere_has_the_same_key(net: Net, seen: tuple[Path, str, Trace]) -> None:
    known = net.known()
    assert known is not None
    assert known.parts == seen[2].parts
    assert known.paths != seen[2].paths


def test_a_target_of_installed_packages_needs_no_subprocess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module_code, "call_in_subprocess", None)  # anything that asks for a process fails
    trace = code_of(INSTALLED, Store(tmp_path / "store"))
    assert not (tmp_path / "store").exists()
    assert not trace.is_local
    assert {"torch", "sympy", "filelock"} <= set(trace.packages)
    assert trace.packages["torch"].startswith(f"{torch_version()} ")
    nested = {"_target_": "torch.nn.Sequential", "_args_": [INSTALLED, {"_target_": "torch.nn.ReLU"}]}
    assert code_of(nested, Store(tmp_path / "store")) == trace


def torch_version() -> str:
    from importlib.metadata import version

    return version("torch")


@pytest.mark.parametrize(
    "target",
    [
        {**INSTALLED, "padding_mode": "zeros.pt"},
        {**INSTALLED, "padding_mode": "/data/zeros"},
        {**INSTALLED, "padding_mode": "there"},
        {**INSTALLED, "padding_mode": "own"},
        {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "own.Net"}]},
        {"_target_": "hydra.utils.get_object", "path": "own"},
        {"_target_": "importlib.import_module", "name": "json"},
    ],
)
def test_other_targets_need_a_subprocess(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: dict[str, object]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text("")
    (tmp_path / "there").write_text("")
    assert known_code(request_of(target), Store(tmp_path / "store")) is None
