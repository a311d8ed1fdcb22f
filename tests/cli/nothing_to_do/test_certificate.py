"""A certificate is valid while nothing has changed; each thing that can change is changed once here."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from cosybuild.cli.nothing_to_do import certificate
from cosybuild.cli.nothing_to_do.certificate import check, examine, write
from cosybuild.cli.nothing_to_do.observed_state import Look
from tests.cli.nothing_to_do.certifying import ARGV, MESSAGE, Project, same_size_and_time


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


def test_a_second_run_in_a_row_has_nothing_to_do(project: Project) -> None:
    assert examine(project.certificates, ARGV) == (None, "there is no certificate")
    assert project.run() is None
    assert check(project.certificates, ARGV) == MESSAGE
    assert check(project.certificates, ARGV) == MESSAGE
    assert [path.suffix for path in project.certificates.iterdir()] == [".json"]


def test_a_second_process_reads_the_certificate(project: Project) -> None:
    code = "import sys; from cosybuild.cli.nothing_to_do.certificate import *\n"
    lay = "from pathlib import Path; print(write(Path('c'), ['a'], 'done', [Look()]))"
    for line, answer in ((lay, "None"), ("print(check('c', ['a']))", "done"), ("print(check('c', ['b']))", "None")):
        run = subprocess.run([sys.executable, "-c", code + line], capture_output=True, text=True, check=True)
        assert run.stdout.strip() == answer


@pytest.mark.parametrize(
    ("move", "what"),
    [
        (lambda p: p.settings.write_text("opset: 17\n"), "config.yaml"),
        (lambda p: same_size_and_time(p.settings), "config.yaml"),
        (lambda p: p.settings.touch(), "config.yaml"),
        (lambda p: p.settings.unlink(), "config.yaml"),
        (lambda p: same_size_and_time(p.weights), "flow.pt"),
        (lambda p: (p.weights.rename("w"), p.weights.symlink_to(p.settings)), "flow.pt"),
        (lambda p: p.lock.write_text(""), "cosybuild.lock"),
        (lambda p: same_size_and_time(p.report), "report.json"),
        (lambda p: p.report.unlink(), "report.json"),
        (lambda p: same_size_and_time(p.engine), "engine.plan"),
        (lambda p: (p.conf / "new.yaml").touch(), "conf"),
        (lambda p: p.conf.rename("elsewhere"), "conf/config.yaml"),
    ],
)
def test_the_changed_file_or_variable_is_named(project: Project, move: Callable[[Project], object], what: str) -> None:
    assert project.run() is None
    move(project)
    message, moved = examine(project.certificates, ARGV)
    assert message is None
    assert moved.endswith(f"{what} changed")
    assert check(project.certificates, ARGV) is None


@pytest.mark.attack("stale", "no certificate")
def test_a_reinstalled_package_is_detected(project: Project) -> None:
    installed = project.conf / "torch-2.13.0.dist-info"
    installed.mkdir()
    (project.conf / "__pycache__").mkdir()
    assert project.run() is None
    (project.conf / "__pycache__" / "x.pyc").touch()
    (project.conf / "__pycache__").rename("gone")
    assert check(project.certificates, ARGV) == MESSAGE
    installed.rename("old")
    installed.mkdir()
    assert check(project.certificates, ARGV) is None


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        *((name, True) for name in ("CUDA_VISIBLE_DEVICES", "HF_TOKEN", "PYTHONPATH")),
        *((name, False) for name in ("SHLVL", "COLUMNS", "TERM", "TERM_PROGRAM", "SSH_TTY", "OLDPWD", "_")),
    ],
)
def test_environment_variables_are_compared_except_those_that_a_terminal_sets(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str, moves: bool
) -> None:
    assert project.run() is None
    monkeypatch.setenv(name, "something new")
    assert examine(project.certificates, ARGV) == ((None, "the environment changed") if moves else (MESSAGE, ""))


@pytest.mark.attack("stale", "no certificate")
def test_a_certificate_under_the_name_of_another_command_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.run() is None
    (mine,) = project.certificates.iterdir()
    mine.rename(certificate._path(project.certificates, ["other"]))
    assert examine(project.certificates, ["other"]) == (None, "the command line changed")
    mine = Path(certificate._path(project.certificates, ["other"]))
    monkeypatch.chdir(project.conf)
    mine.rename(certificate._path(project.certificates, ARGV))
    assert examine(project.certificates, ARGV) == (None, "the working directory changed")


def test_a_certificate_of_another_version_is_not_read(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert project.run() is None
    monkeypatch.setattr(certificate, "SCHEMA", certificate.SCHEMA + 1)
    assert examine(project.certificates, ARGV) == (None, "another version of cosybuild wrote the certificate")


def test_names_and_values_that_are_no_text_are_compared_too(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = os.fsdecode(b"caf\xe9")
    monkeypatch.setenv("DATA", odd)
    (project.conf / odd).touch()
    Project.age()
    assert project.run() is None
    assert check(project.certificates, ARGV) == MESSAGE
    (project.conf / odd).rename(project.conf / os.fsdecode(b"caf\xe8"))
    assert examine(project.certificates, ARGV) == (None, f"{project.conf} changed")
    (project.conf / os.fsdecode(b"caf\xe8")).rename(project.conf / odd)
    monkeypatch.setenv("DATA", os.fsdecode(b"caf\xe8"))
    assert examine(project.certificates, ARGV) == (None, "the environment changed")


def test_another_command_or_directory_has_its_own_certificate(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.run() is None
    for argv in (["trt=fp16", "export=opset18"], ["export=opset18 trt=fp16"], [], [*ARGV, ""]):
        assert check(project.certificates, argv) is None
    monkeypatch.chdir(project.conf)
    assert check(project.certificates, ARGV) is None


@pytest.mark.attack("stale", "no certificate")
def test_another_interpreter_or_boot_is_detected(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    boot = project.conf.parent / "boot_id"
    boot.write_text("first")
    monkeypatch.setattr(certificate, "_KERNEL", (str(boot), "/absent"))
    assert project.run() is None
    monkeypatch.setattr(sys, "version", "3.99")
    assert examine(project.certificates, ARGV)[1] == "the interpreter changed"
    monkeypatch.undo()
    monkeypatch.chdir(project.conf.parent)
    boot.write_text("other")
    assert examine(project.certificates, ARGV)[1] == f"{boot} changed"


@pytest.mark.parametrize(
    ("during", "what"),
    [
        (lambda p: p.settings.write_text("opset: 17\n"), "config.yaml"),
        (lambda p: p.weights.touch(), "flow.pt"),
        (lambda p: p.lock.write_text("{}"), "cosybuild.lock"),
        (lambda p: (p.conf / "new.yaml").touch(), "conf"),
    ],
)
def test_a_change_while_the_run_reads_prevents_the_certificate(
    project: Project, during: Callable[[Project], object], what: str
) -> None:
    reason = project.run(lambda: during(project))
    assert reason is not None
    assert reason.endswith(f"{what} changed during the run")
    assert check(project.certificates, ARGV) is None
    Project.age()
    assert project.run() is None
    assert check(project.certificates, ARGV) == MESSAGE


def certified(project: Project, result: Path) -> tuple[list[int] | None, str | None]:
    """Return the result of a check of a certificate with this one file."""
    reason = write(project.certificates, ARGV, MESSAGE, [Look()], results=[result])
    assert reason is None
    assert check(project.certificates, ARGV) == MESSAGE
    (path,) = project.certificates.iterdir()
    identity, digest = json.loads(path.read_text())["files"][str(result)]
    return identity, digest


def test_a_result_is_hashed_only_if_it_is_small_and_was_just_written(project: Project) -> None:
    assert certified(project, project.engine) == (None, None)
    project.engine.write_bytes(b"e" * (1 << 20))
    os.utime(project.engine, (time.time() + 1000, time.time() + 1000))  # counts as just written on any machine
    assert certified(project, project.engine)[1] == hashlib.sha256(b"e" * (1 << 20)).hexdigest()
    os.utime(project.engine, (time.time(), time.time()))
    Project.age()
    assert certified(project, project.engine)[1] is None
    project.engine.write_bytes(b"e" * ((1 << 20) + 1))
    assert certified(project, project.engine)[1] is None


@pytest.mark.parametrize("meanwhile", ["nothing", "removed"])
def test_a_large_result_that_keeps_changing_is_not_certified(
    project: Project, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    project.engine.write_bytes(b"e" * (2 << 20))
    os.utime(project.engine, (time.time() + 1000, time.time() + 1000))
    monkeypatch.setattr(time, "sleep", lambda seconds: project.engine.unlink() if meanwhile == "removed" else None)
    reason = write(project.certificates, ARGV, MESSAGE, [Look()], results=[project.engine])
    assert reason == f"{project.engine} was written a moment ago"
    assert list(project.certificates.iterdir()) == []


def test_file_systems_with_whole_seconds_or_another_clock_get_two_seconds() -> None:
    second, here, elsewhere = 1_800_000_000 * 10**9, 1, 2
    for written, tick, device in (
        (second, 2.0, here),
        (second + 123_456_789, 0.05, here),
        (second + 1, 2.0, elsewhere),
    ):
        stat = SimpleNamespace(st_mtime_ns=written, st_ctime_ns=written - 7, st_dev=here)
        assert certificate._fresh(stat, written + int(tick * 0.9e9), device)  # type: ignore[arg-type]  # its times are all that is read
        assert not certificate._fresh(stat, written + int(tick * 1e9), device)  # type: ignore[arg-type]  # as above
        assert not certificate._fresh(stat, written + int(tick * 1.1e9), device)  # type: ignore[arg-type]  # as above


@pytest.mark.attack("stale", "no certificate")
@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema": 1}', '{"schema": 0}', '{"schema": 1, "setting": 7}', "\x80"]
)
def test_a_damaged_certificate_is_ignored(project: Project, text: str) -> None:
    assert project.run() is None
    (path,) = project.certificates.iterdir()
    path.write_bytes(text.encode("latin-1"))
    assert check(project.certificates, ARGV) is None


def test_a_certificate_that_is_not_written_leaves_no_incomplete_file(project: Project) -> None:
    assert project.run() is None
    assert project.run(lambda: project.settings.write_text("opset: 17\n")) is not None
    assert len(list(project.certificates.iterdir())) == 1
    assert check(project.certificates, ARGV) is None


def test_a_disk_error_prevents_only_the_certificate(project: Project) -> None:
    project.certificates.parent.mkdir()
    project.certificates.write_text("a file in its place")
    reason = project.run()
    assert reason is not None
    assert ".certificates" in reason
    assert check(project.certificates, ARGV) is None


def test_old_certificates_are_removed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "_KEPT", 3)
    for index in range(6):
        assert write(project.certificates, [str(index)], MESSAGE, [Look()]) is None
    found = [index for index in range(6) if check(project.certificates, [str(index)])]
    assert found == [3, 4, 5]


def test_the_check_imports_only_json_hashlib_and_what_they_need() -> None:
    """The early exit imports only json, hashlib and their requirements, because each import costs time."""
    code = """
import __future__, json, hashlib, sys
before = set(sys.modules)
from cosybuild.cli.nothing_to_do import certificate
certificate.check("absent", [])
print(sorted(set(sys.modules) - before))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    package = "cosybuild.cli.nothing_to_do"
    assert answer.stdout.strip() == str(
        ["cosybuild", "cosybuild.cli", package, f"{package}.certificate", f"{package}.observed_state"]
    )
