"""A command that has nothing to do: its output, its imports, and the cases in which something must be done."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import cosybuild.cli.build
from cosybuild.__main__ import main
from cosybuild.cli.nothing_to_do.early_exit import DIRECTORY, nothing_to_do
from cosybuild.config.compose import config_directory
from tests.scenarios.commands import QUICK, Place
from tests.scenarios.rebuilding import flip

HEAVY = ("torch", "onnx", "onnxruntime", "onnxsim", "onnxscript", "onnx_ir", "tensorrt", "tensorrt_rtx")
SERVICE = ("deploy.dir=service", "deploy.create=true")
GRAPH = "flow.decoder.estimator.fp32.onnx"


@pytest.mark.parametrize("certified", [True, False])
def test_a_command_with_nothing_to_do_prints_one_line_and_imports_nothing_heavy(
    used_place: Place, certified: bool
) -> None:
    used_place.cosybuild(*QUICK)  # certificates are valid in one directory
    if not certified:
        shutil.rmtree(used_place.directory / DIRECTORY)
    stamps = {path: path.stat().st_mtime_ns for path in used_place.directory.glob("outputs/runs/*/report.*")}
    assert len(stamps) == 3
    ran = used_place.run(sys.executable, "-X", "importtime", "-m", "cosybuild", *QUICK)
    assert ran.out.startswith("Nothing to do: 4 steps up to date. outputs/runs/")
    assert ran.out.count("\n") == 1
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in ran.err.splitlines()}
    assert "cosybuild" in imported
    assert not imported & set(HEAVY)
    assert ("hydra" in imported) is not certified
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_a_run_without_deployment_does_not_report_that_of_an_earlier_run(used_place: Place) -> None:
    deployed = used_place.cosybuild(*QUICK, "deploy=bundle", *SERVICE, "deploy.force=true")
    assert "deployed to service" in deployed.out
    again = used_place.cosybuild(*QUICK)
    assert again.out.startswith("Nothing to do: 4 steps up to date. ")
    assert "deployed" not in again.out


class Certified:
    """A directory in which a command just found that there is nothing to do."""

    def __init__(self, directory: Path, conf: Path, packages: Path) -> None:
        self.directory = directory
        self.conf = conf
        self.packages = packages

    def one(self, pattern: str) -> Path:
        return next(self.directory.glob(pattern))


@pytest.fixture
def certified(used_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certified:
    conf, packages = tmp_path / "conf", tmp_path / "site-packages"
    shutil.copytree(config_directory(), conf)
    packages.mkdir()
    monkeypatch.syspath_prepend(packages)
    monkeypatch.setattr(cosybuild.cli.build, "config_directory", lambda: conf)
    monkeypatch.chdir(used_place.directory)
    monkeypatch.setattr(sys, "argv", sys.argv)
    assert nothing_to_do(QUICK) is None
    # A file that changed within one clock tick before a command may still be changing; it is not certified.
    time.sleep(0.1)
    assert main(QUICK) == 0
    message = nothing_to_do(QUICK)
    assert message is not None
    assert message.startswith("Nothing to do: 4 steps")
    return Certified(used_place.directory, conf, packages)


def quietly(path: Path) -> None:
    """Change a byte and restore the times."""
    stat = path.stat()
    flip(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def add(path: Path) -> None:
    path.write_text("x: 1\n", encoding="utf-8")


CHANGES: dict[str, Callable[[Certified], object]] = {
    "weights of the same size and time": lambda c: quietly(c.directory / "model" / "flow.pt"),
    "the model's yaml": lambda c: quietly(c.directory / "model" / "cosyvoice2.yaml"),
    "a second yaml": lambda c: add(c.directory / "model" / "cosyvoice.yaml"),
    "weights in another container": lambda c: add(c.directory / "model" / "flow.safetensors"),
    "weights taken away": lambda c: (c.directory / "model" / "flow.pt").unlink(),
    "a file of the configuration": lambda c: quietly(c.conf / "export" / "opset18.yaml"),
    "a new option": lambda c: add(c.conf / "export" / "mine.yaml"),
    "a package installed": lambda c: (c.packages / "onnxsim-9.9.dist-info").mkdir(),
    "a stored content": lambda c: quietly(c.one("outputs/store/objects/*/*")),
    "a stored content taken away": lambda c: c.one("outputs/store/objects/*/*").unlink(),
    "an entry": lambda c: quietly(c.one("outputs/store/entries/export/*.json")),
    "an entry taken away": lambda c: c.one("outputs/store/entries/verify/*.json").unlink(),
    "an artifact": lambda c: quietly(c.one(f"outputs/runs/*/artifacts/{GRAPH}")),
    "an artifact taken away": lambda c: c.one(f"outputs/runs/*/artifacts/{GRAPH}").unlink(),
    "a manifest taken away": lambda c: c.one("outputs/runs/*/artifacts/*.manifest.json").unlink(),
    "the report": lambda c: quietly(c.one("outputs/runs/*/report.json")),
    "the report taken away": lambda c: c.one("outputs/runs/*/report.md").unlink(),
    "the run directory taken away": lambda c: shutil.rmtree(c.directory / "outputs" / "runs"),
    "the store taken away": lambda c: shutil.rmtree(c.directory / "outputs" / "store"),
}


@pytest.mark.attack("stale", "the certificate is void")
@pytest.mark.parametrize("name", CHANGES)
def test_a_certificate_is_never_wrong(certified: Certified, name: str) -> None:
    CHANGES[name](certified)
    assert nothing_to_do(QUICK) is None


@pytest.mark.attack("stale", "the certificate is void")
def test_another_command_environment_or_directory_has_no_certificate(
    certified: Certified, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nothing_to_do([*QUICK, "export.opset=20"]) is None
    assert nothing_to_do([*reversed(QUICK)]) is None
    for word in ("dry_run=true", "lock=true", "--cfg", "store.verify=true", "hydra.verbose=true"):
        assert nothing_to_do([*QUICK, word]) is None
    with monkeypatch.context() as patch:
        patch.setenv("COSYBUILD_STORE", "elsewhere")
        assert nothing_to_do(QUICK) is None
    with monkeypatch.context() as patch:
        patch.chdir(certified.directory / "model")
        assert nothing_to_do(QUICK) is None
    with monkeypatch.context() as patch:
        patch.setattr(sys, "prefix", sysconfig.get_path("stdlib"))
        assert nothing_to_do(QUICK) is None
    monkeypatch.setenv("COLUMNS", "33")
    monkeypatch.setenv("TERM_PROGRAM", "another")
    assert nothing_to_do(QUICK) is not None


@pytest.mark.parametrize("name", ["an artifact taken away", "a stored content", "an entry taken away"])
def test_a_full_run_repairs_the_change(certified: Certified, name: str) -> None:
    artifacts = {p.name: p.read_bytes() for p in certified.directory.glob("outputs/runs/*/artifacts/*.onnx")}
    CHANGES[name](certified)
    assert main([*QUICK, "store.verify=true"]) == 0
    assert {p.name: p.read_bytes() for p in certified.directory.glob("outputs/runs/*/artifacts/*.onnx")} == artifacts


@pytest.mark.attack("stale", "the certificate is void")
def test_a_failed_run_is_never_certified(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    model = place.directory / "model"
    model.mkdir()
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.chdir(place.directory)
    assert main(QUICK) == 3
    assert nothing_to_do(QUICK) is None
    assert not (place.directory / DIRECTORY).exists()
