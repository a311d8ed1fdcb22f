"""`gc`, `store ls`, `store verify` and `doctor` on a store with work of several runs."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cosybuild.backends import onnxruntime_backend
from cosybuild.run.tested_versions import read_tested
from tests.importing import importing
from tests.mounting import make_read_only, mounted
from tests.scenarios.commands import QUICK, Answer, Place, actions
from tests.scenarios.rebuilding import flip

DAY = 86400.0


@pytest.fixture(scope="module")
def two_runs(built_place: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Make two runs that share an export; entries of the first were last used 40 days ago, all others 3 days ago."""
    place = Place(tmp_path_factory.mktemp("kept") / "place")
    shutil.copytree(built_place.directory, place.directory)
    before = entries(place)
    place.cosybuild(*QUICK, "simplify=none", "verify.seed=8")
    age(before, 40)
    age(entries(place) - before, 3)
    return place


@pytest.fixture
def kept(two_runs: Place, tmp_path: Path) -> Place:
    shutil.copytree(two_runs.directory, tmp_path / "kept")
    return Place(tmp_path / "kept")


def entries(place: Place) -> set[Path]:
    return set(place.directory.glob("outputs/store/entries/*/*.json"))


def age(paths: set[Path], days: float) -> None:
    for path in paths:
        os.utime(path, (time.time() - days * DAY,) * 2)


def contents(place: Place) -> set[Path]:
    return set(place.directory.glob("outputs/store/objects/*/*"))


def test_results_that_runs_refer_to_are_kept_at_any_age(kept: Place) -> None:
    everything = kept.files()
    for words in ([], ["--older-than", "1d"], ["--max-size", "1KB"]):
        assert kept.cosybuild("gc", "--grace", "0s", *words).out.startswith("0 results and 0 files removed, 0 B freed")
    assert kept.files() == everything


def test_results_that_no_run_refers_to_are_removed_and_a_dry_run_lists_them(kept: Place) -> None:
    other = next(run for run in kept.runs() if '"verify.seed=8"' in (run / "report.json").read_text())
    shutil.rmtree(other)
    before, stored = kept.files(), contents(kept)
    promised = kept.cosybuild("gc", "--grace", "0s", "--dry-run").out
    assert "verify               " in promised
    assert "no run refers to it" in promised
    assert "export" not in promised, "the other run needs it"
    assert kept.files() == before
    done = kept.cosybuild("gc", "--grace", "0s").out
    assert done == promised.replace("would be ", "")
    assert contents(kept) < stored
    assert kept.cosybuild(*QUICK).out.startswith("Nothing to do")
    assert kept.cosybuild("gc", "--grace", "0s").out.startswith("0 results and 0 files removed")


def test_results_are_removed_by_age_and_by_size(kept: Place) -> None:
    shutil.rmtree(kept.directory / "outputs" / "runs")
    assert "export" not in kept.cosybuild("gc", "--older-than", "50d", "--dry-run").out
    by_age = kept.cosybuild("gc", "--grace", "0s", "--older-than", "30d", "--dry-run").out
    assert "unused for 40.0 days" in by_age
    assert "unused for 3.0 days" not in by_age
    total = sum(path.stat().st_size for path in contents(kept))
    done = kept.cosybuild("gc", "--grace", "0s", "--max-size", f"{total - 1000}").out
    assert f"the store holds more than {total - 1000:,} bytes" in done
    assert 0 < sum(path.stat().st_size for path in contents(kept)) <= total - 1000
    kept.cosybuild("store", "verify")
    kept.cosybuild(*QUICK)
    assert "built" in actions(kept.report()).values()


def test_results_of_the_last_hour_are_kept(kept: Place) -> None:
    shutil.rmtree(kept.directory / "outputs" / "runs")
    age(entries(kept), 0.01)
    assert kept.cosybuild("gc", "--older-than", "1s").out.startswith("0 results and 0 files removed")


def test_gc_refuses_to_remove_everything_without_a_run_or_a_limit(kept: Place, tmp_path: Path) -> None:
    """A directory without runs has no references to results."""
    elsewhere = Place(tmp_path)
    store = str(kept.directory / "outputs" / "store")
    before = kept.files()
    refused = elsewhere.cosybuild("gc", "--store", store, code=2)
    assert f"so all results in {store} would be removed" in refused.err
    assert "--runs" in refused.err
    assert kept.files() == before
    elsewhere.cosybuild("gc", "--store", store, "--grace", "0s", "--runs", str(kept.directory / "outputs" / "runs"))
    assert kept.files() == before


@pytest.mark.parametrize("words", [["--older-than", "soon"], ["--max-size", "much"], ["--frobnicate"]])
def test_the_error_explains_an_invalid_age_or_size(place: Place, words: list[str]) -> None:
    refused = place.cosybuild("gc", *words, code=2)
    assert words[0] in refused.err
    assert not place.files()


def test_store_ls_lists_results_with_their_last_use(kept: Place) -> None:
    lines = kept.cosybuild("store", "ls").out.splitlines()
    assert len(lines) == len(entries(kept)) + 1
    assert "used 3 d ago" in lines[0]
    (simplified,) = (line for line in lines if line.startswith("simplify "))
    assert "cosyvoice2 flow.decoder.estimator  opset=18" in simplified, "the opset is in the key of the export"
    assert all("  built " in line for line in lines[:-1])
    assert "used 40 d ago" in lines[-2]
    assert lines[-1].startswith(f"{len(entries(kept))} results, {len(contents(kept))} files, ")


def test_the_variable_names_the_store_of_every_command(kept: Place, tmp_path: Path) -> None:
    team = {"COSYBUILD_STORE": str(kept.directory / "outputs" / "store")}
    elsewhere = Place(tmp_path)
    count = f"{len(entries(kept))} results, "
    assert elsewhere.cosybuild("store", "ls", env=team).out.splitlines()[-1].startswith(count)
    assert elsewhere.cosybuild("store", "ls", "--store", "none", env=team).out.startswith("0 results, ")
    assert team["COSYBUILD_STORE"] in elsewhere.cosybuild("doctor", env=team, code=None).out
    before = entries(kept)
    refused = kept.cosybuild("gc", "--grace", "0s", code=2, env=team)
    assert "may have results of other people's runs" in refused.err
    kept.cosybuild("gc", "--dry-run", env=team)
    kept.cosybuild("gc", "--store", "outputs/store", env=team)
    assert entries(kept) == before


def exported(place: Place) -> Path:
    """Return the stored content that the step `export` made."""
    report = json.loads((place.runs()[0] / "report.json").read_text(encoding="utf-8"))
    digest = next(step for step in report["steps"] if step["label"] == "export")["outputs"]["graph"]["digest"]
    return place.directory / "outputs" / "store" / "objects" / digest[:2] / digest


def test_verify_quarantines_damaged_files_and_the_next_build_repairs_them(kept: Place) -> None:
    assert kept.cosybuild("store", "verify").out.splitlines()[-1].startswith(f"{len(entries(kept))} results and ")
    rotten = exported(kept)
    good = rotten.read_bytes()
    stat = rotten.stat()
    flip(rotten, 1000)
    os.utime(rotten, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    found = kept.cosybuild("store", "verify", "--keep-damaged", code=7)
    assert str(rotten.relative_to(kept.directory)) in found.out
    assert "has other content" in found.out
    assert "used by results of export" in found.out
    assert rotten.exists()
    found = kept.cosybuild("store", "verify", code=7)
    assert "moved to " in found.out
    assert "Next: run the builds again" in found.err
    assert not rotten.exists()
    ran = kept.cosybuild(*QUICK)
    assert "is missing" in ran.out
    assert rotten.read_bytes() == good
    kept.cosybuild("store", "verify")
    assert "in quarantine" in kept.cosybuild("store", "ls").out


def findings(out: str) -> dict[str, list[str]]:
    """Return grade -> its findings, each with its fix."""
    found: dict[str, list[str]] = {"ok": [], "note": [], "problem": []}
    grade = ""
    for line in out.splitlines():
        if line[:8].strip():
            grade = line[:8].strip()
            found[grade].append(line[10:])
        else:
            found[grade][-1] += f" | {line.strip()}"
    return found


def test_doctor_finds_no_problem_on_a_machine_that_can_build(used_place: Place) -> None:
    found = findings(used_place.cosybuild("doctor").out)
    text = "\n".join(found["ok"])
    for what in (
        "Python 3.",
        "torch 2.",
        "onnx 1.",
        "onnxruntime ",
        "onnxsim ",
        "ONNX Runtime computes on",
        " free at ",
    ):
        assert what in text
    assert "store outputs/store: " in text
    assert found["problem"] == []
    for note in found["note"]:
        assert " | " in note or note.startswith("No GPU"), f"no fix is named: {note}"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "8m") as disk:
        yield disk


def test_doctor_names_each_problem_with_its_fix(used_place: Place, disk: Path) -> None:
    damaged = max(contents(used_place), key=lambda path: path.stat().st_size)
    flip(damaged)
    (used_place.directory / "outputs" / "store" / "digests").write_text("spoiled")
    found = findings(used_place.cosybuild("doctor").out)
    (note,) = [note for note in found["note"] if str(damaged.relative_to(used_place.directory)) in note]
    assert "has other content" in note
    assert " | run `python -m cosybuild store verify" in note
    used_place.cosybuild("store", "verify", code=7)
    found = findings(used_place.cosybuild("doctor").out)
    assert any("in quarantine | run `python -m cosybuild gc" in note for note in found["note"])
    little = findings(used_place.cosybuild("doctor", "--store", str(disk / "store")).out)
    assert any("a full-size build needs about 5 GB | free some space" in note for note in little["note"])
    make_read_only(disk)
    unwritable = findings(used_place.cosybuild("doctor", "--store", str(disk / "store"), code=6).out)
    (problem,) = unwritable["problem"]
    assert problem == f"{disk} cannot be written | set store.path to another directory"


@pytest.mark.skipif(onnxruntime_backend.cuda_loads(), reason="CUDA works here")
def test_doctor_lists_the_devices_of_the_driver(place: Place) -> None:
    """A script replaces the driver's tool and reports two devices; doctor does not load CUDA."""
    tool = place.directory / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    lines = "0, NVIDIA L20, 8.9, 46068, 580.95\n1, NVIDIA GB10, 12.1, [N/A], 580.95\n"
    tool.write_text(f"#!/bin/sh\n/bin/cat <<'END'\n{lines}END\n", encoding="utf-8")
    tool.chmod(0o755)
    found = findings(place.cosybuild("doctor", code=6, env={"PATH": f"{tool.parent}:{os.environ['PATH']}"}).out)
    assert {
        "GPU 0: NVIDIA L20, sm_89, 48.31 GB",
        "GPU 1: NVIDIA GB10, sm_121, the host's memory",
        "GPU driver 580.95",
    } <= set(found["ok"])
    assert any("CUDA provider does not load | pip install onnxruntime-gpu" in problem for problem in found["problem"])


def test_doctor_names_packages_that_do_not_load(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = place.directory / "site"
    broken.mkdir()
    for name in ("onnxsim", "onnxscript"):
        (broken / f"{name}.py").write_text("raise ImportError('libfoo.so.3 is not there')", encoding="utf-8")
    found = findings(place.cosybuild("doctor", code=6, env=importing(broken)).out)
    assert len(found["problem"]) == 2
    for problem, name in zip(found["problem"], ("onnxsim", "onnxscript"), strict=True):
        assert name in problem
        assert "libfoo.so.3 is not there" in problem
        assert " | Next: pip install" in problem


def test_doctor_names_packages_of_other_versions_than_tested(command: Callable[..., Answer], tmp_path: Path) -> None:
    for name in ("onnxsim", "rich"):
        other = tmp_path / "site" / f"{name}-99.1.dist-info"
        other.mkdir(parents=True)
        (other / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.1\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path / "site")
        found = findings(command("doctor").out)
    tested = read_tested()
    where = f"(with Python {tested.python} on {tested.platform}) | pip install -c {tested.path} cosybuild"
    (onnxsim,) = [note for note in found["note"] if note.startswith("onnxsim 99.1: ")]
    assert onnxsim.endswith(f"cosybuild was tested with {tested.versions['onnxsim']} {where}")
    (others,) = [note for note in found["note"] if "not in the tested version" in note]
    assert f"rich 99.1 ({tested.versions['rich']})" in others


def test_doctor_names_a_store_of_a_later_version(used_place: Place) -> None:
    import hashlib

    line = "cosybuild store 7"
    version = used_place.directory / "outputs" / "store" / "VERSION"
    version.write_text(f"{line} {hashlib.sha256(line.encode()).hexdigest()[:16]}\n", encoding="ascii")
    (problem,) = findings(used_place.cosybuild("doctor", code=6).out)["problem"]
    assert "is a store of version 7" in problem
    assert "upgrade cosybuild" in problem
    assert "is a store of version 7" in used_place.cosybuild(*QUICK, "verify.seed=2", code=7).err
