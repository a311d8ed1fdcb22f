"""The check that a step uses only the code and data that planning recorded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cosybuild.building.stage import Emit
from cosybuild.digest import digest_of
from cosybuild.errors import BuildError, ModelError, SourceChanged
from cosybuild.models.subject import Subject
from cosybuild.models.unplanned_reads import check_reads
from cosybuild.models.user_module.audit import record_reads
from cosybuild.models.user_module.fresh import forget_changed, import_from_source
from cosybuild.models.user_module.installed import fingerprint, owner_of, requirements_of
from cosybuild.models.user_module.trace import Trace, is_local, trace_from_json
from cosybuild.run import module_code
from cosybuild.store.store import Store
from tests.models.user_module.tracing import INSTALLED, NET, Net, code_of, request_of


def test_a_distribution_is_identified_by_its_files(net: Net) -> None:
    module = net.place / "site-packages" / "acme" / "__init__.py"
    assert owner_of(module) == "acme"
    assert owner_of(net.place / "net.py") is None
    assert owner_of(net.place / "site-packages" / "loose.py") is None
    before = fingerprint("acme")
    assert before.startswith("1.0 ")
    net.write("site-packages/acme-1.0.dist-info/INSTALLER", "another")
    assert fingerprint("acme") == before
    assert fingerprint("no-such-package") == "absent"
    metadata = net.place / "site-packages" / "acme-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text() + "Requires-Dist: numpy>=1\nRequires-Dist: no-such; extra == 'x'\n")
    assert requirements_of("acme") == ("acme", "numpy")


def test_byte_code_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python uses byte code if size and second of the source are unchanged."""
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "edited_twice.py"
    path.write_text("VALUE = 1\n")
    subprocess.run([sys.executable, "-c", "import edited_twice"], cwd=tmp_path, check=True)
    times = path.stat()
    path.write_text("VALUE = 2\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with import_from_source(is_local):
        import edited_twice  # type: ignore[import-not-found]  # written above
    assert edited_twice.VALUE == 2
    forget_changed({"edited_twice": digest_of(path)})
    assert "edited_twice" in sys.modules
    path.write_text("VALUE = 3\n")
    forget_changed({"edited_twice": digest_of(path)})
    assert "edited_twice" not in sys.modules


@pytest.mark.attack("stale", "an error")
def test_a_step_may_read_only_what_planning_recorded(net: Net, tmp_path: Path) -> None:
    subject = replace(request_of(NET).subject, code=code_of(NET, net.store))
    weights, scratch = net.place / "weights.pt", net.place / "store" / "tmp"
    scratch.mkdir()
    for path in (weights, scratch / "x", net.place / "late.txt"):
        path.write_text("x")
    with check_reads(subject, weights, scratch):
        for path in (weights, scratch / "x", net.place / "data" / "table.txt"):
            path.read_text()
        (net.place / "written").write_text("x")
        (net.place / "written").read_text()
    with pytest.raises(BuildError, match=r"late\.txt only during"), check_reads(subject, weights, scratch):
        (net.place / "late.txt").read_text()
    remembered = trace_from_json(next((net.place / "store/traces").iterdir()).read_text())
    assert remembered is not None
    assert remembered.learned == (str(net.place / "late.txt"),)
    assert net.known() is None
    with pytest.raises(SourceChanged, match=r"lazily\.py, which net\.Net"), check_reads(subject, weights, scratch):
        net.write("lazily.py", "K = 9.0\n")


def test_models_of_other_kinds_are_not_watched(tmp_path: Path) -> None:
    subject = replace(request_of(INSTALLED).subject, code=Trace(packages={"torch": "1"}))
    with check_reads(subject, None, tmp_path):
        (tmp_path / "x").write_text("x")
        (tmp_path / "x").read_text()


def leaves(subject: Subject, learned: tuple[str, ...], sizes: Mapping[str, int], emit: Emit) -> Trace:
    """End the process, like a module whose import does so."""
    raise SystemExit(3)


def crashes(subject: Subject, learned: tuple[str, ...], sizes: Mapping[str, int], emit: Emit) -> Trace:
    """Crash, like a module with a defect in native code."""
    os.abort()


@pytest.mark.parametrize(("how", "told"), [(leaves, "SystemExit: 3"), (crashes, "SIGABRT")])
def test_a_module_that_cannot_be_constructed_is_an_error_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: object, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module_code, "trace_construction", how)
    (tmp_path / "broken.py").write_text("")
    with pytest.raises(ModelError, match=f"could not be constructed: broken.Net: .*{told}"):
        code_of({"_target_": "broken.Net"}, Store(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_reads_are_distinguished_from_writes_and_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("x")
    with record_reads() as reads:
        Path("there").read_text()
        Path("new").write_text("x")
        Path("new").read_text()
        os.close(os.open("there", os.O_RDONLY))
        list(Path().iterdir())
        with pytest.raises(FileNotFoundError):
            Path("gone").read_text()
        subprocess.run([sys.executable, "-c", ""], check=True)
    Path("there").read_bytes()
    inside = {path for path in reads.files if path.startswith(str(tmp_path))}
    assert inside == {str(tmp_path / name) for name in ("there", "gone")}
    assert {Path(path).name for path in reads.written if path.startswith(str(tmp_path))} == {"new"}
    assert any(Path(path) == tmp_path for path in reads.listed)
    assert reads.hidden == {"starts a process"}


def test_code_of_cosybuild_is_compared_but_not_imported_again() -> None:
    files = {"net.py": ("/net.py", "1"), "cosybuild/x.py": ("/cosybuild/x.py", "2")}
    trace = Trace(files=files, modules={"net": "/net.py", "cosybuild.x": "/cosybuild/x.py", "gone": None})
    assert trace.sources == {"net": "1"}
    assert "cosybuild/x.py" in trace.parts
