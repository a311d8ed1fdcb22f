"""Builds on full disks, on read-only disks, and in paths with unusual letters."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounting import fill, make_read_only, mounted
from tests.scenarios.commands import QUICK, Place, actions

AWKWARD = "ein Störe, [drei=vier] & 'mehr' — ✓"


def artifacts(place: Place) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.directory.glob("outputs/runs/*/artifacts/*.onnx")}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 8 MiB."""
    with mounted(tmp_path / "disk", "8m") as disk:
        yield disk


@pytest.fixture
def fresh_place(place: Place, built_place: Place) -> Place:
    """Return a working directory with `model/` in which nothing was built."""
    shutil.copytree(built_place.directory / "model", place.directory / "model")
    return place


def quoted(path: Path) -> str:
    """Return a path as the value of an override."""
    text = str(path).replace("'", "\\'")
    return f"'{text}'"


@pytest.mark.attack("interrupt", "an error, and the next run continues")
@pytest.mark.parametrize("leave", [0, 60_000, 250_000])
def test_a_full_disk_of_the_store_is_reported_and_the_next_run_continues(
    fresh_place: Place, built_place: Place, disk: Path, leave: int
) -> None:
    """The disk is full before, during or after the first step; a finished step is used in the next run."""
    ballast = fill(disk, leave)
    words = [*QUICK, f"store.path={disk / 'store'}"]
    ran = fresh_place.cosybuild(*words, code=7)
    assert ran.err.startswith("store error: ")
    assert "the disk is full" in ran.err
    assert "Next: " in ran.err
    assert not artifacts(fresh_place)
    ballast.unlink()
    fresh_place.cosybuild("store", "--store", str(disk / "store"), "verify")
    fresh_place.cosybuild(*words)
    assert actions(fresh_place.report())["export"] == ("hit" if leave == 250_000 else "built")
    assert artifacts(fresh_place) == artifacts(built_place)
    strays = [path for path in (disk / "store" / "tmp").rglob("*") if path.is_file()]
    assert not strays


@pytest.mark.attack("interrupt", "an error, and the next run continues")
@pytest.mark.parametrize("leave", [0, 12_000, 40_000])
def test_a_full_disk_of_the_run_directory_is_reported_and_the_next_run_continues(
    used_place: Place, disk: Path, leave: int
) -> None:
    """All results are in the store on another disk; the record and the artifacts do not fit on the full one."""
    expected = artifacts(used_place)
    here = Place(disk / "here")
    here.directory.mkdir()
    words = [word.replace("model_dir=model", f"model_dir={used_place.directory / 'model'}") for word in QUICK]
    words.append(f"store.path={used_place.directory / 'outputs' / 'store'}")
    ballast = fill(disk, leave)
    ran = here.cosybuild(*words, code=7)
    assert ran.err.startswith("store error: ")
    assert "the disk is full" in ran.err
    assert "cosybuild gc" not in ran.err, "removing results from the store frees nothing on this disk"
    assert str(here.directory) in ran.err or "outputs/runs/" in ran.err, "the message names no path"
    assert not artifacts(here), "a part of an artifact, or one without its record"
    ballast.unlink()
    here.cosybuild(*words)
    assert set(actions(here.report()).values()) == {"hit"}
    assert artifacts(here) == expected
    assert not list(disk.rglob("*.part"))


def test_a_read_only_store_serves_its_results_and_reports_others(used_place: Place, disk: Path) -> None:
    """The build uses stored results; if others are needed, its error names a next command."""
    shutil.copytree(used_place.directory / "outputs" / "store", disk / "store")
    make_read_only(disk)
    expected = artifacts(used_place)
    shutil.rmtree(used_place.directory / "outputs")
    words = [*QUICK, f"store.path={disk / 'store'}"]
    used_place.cosybuild(*words)
    assert set(actions(used_place.report()).values()) == {"hit"}
    assert artifacts(used_place) == expected
    assert used_place.cosybuild(*words).out.startswith("Nothing to do")
    refused = used_place.cosybuild(*words, "verify.seed=5", code=7)
    assert "the file system is read-only" in refused.err
    assert "store.path" in refused.err
    for words in (["store", "ls"], ["store", "verify"], ["gc", "--dry-run"]):
        used_place.cosybuild(words[0], "--store", str(disk / "store"), *words[1:])
    assert artifacts(used_place) == expected


def test_a_read_only_working_directory_is_reported(used_place: Place, disk: Path) -> None:
    shutil.copytree(used_place.directory, disk / "here")
    make_read_only(disk)
    here = Place(disk / "here")
    assert "run" in here.cosybuild(*QUICK, "dry_run=true", "verify.seed=3").out
    assert "never built" in here.cosybuild("explain", str(here.runs()[0])).out
    refused = here.cosybuild(*QUICK, "verify.seed=3", code=7)
    assert "read-only" in refused.err


def test_paths_with_blanks_quotes_and_non_ascii_letters_work(tmp_path: Path, built_place: Place) -> None:
    """The working directory, the model and the store have blanks, quotes, brackets and letters beyond ASCII."""
    place = Place(tmp_path / AWKWARD)
    shutil.copytree(built_place.directory / "model", place.directory / AWKWARD)
    store = tmp_path / "elsewhere" / AWKWARD
    words = [word for word in QUICK if not word.startswith("model_dir=")]
    words += [f"model_dir={quoted(Path(AWKWARD))}", f"store.path={quoted(store)}"]
    place.cosybuild(*words)
    assert artifacts(place) == artifacts(built_place)
    assert place.cosybuild(*words).out.startswith("Nothing to do")
    (run,) = place.runs()
    assert "never built" in place.cosybuild("explain", run.name).out
    assert "simplify  " in place.cosybuild("store", "--store", str(store), "ls").out
    place.cosybuild("store", "--store", str(store), "verify")
    replayed = place.cosybuild("replay", str(run), "--into", str(tmp_path / f"re {AWKWARD}"))
    assert "same       flow.decoder.estimator.fp32.onnx" in replayed.out


def test_an_environment_variable_names_a_shared_store(used_place: Place, tmp_path: Path) -> None:
    team = tmp_path / "the teäm's store"
    shutil.move(used_place.directory / "outputs" / "store", team)
    shutil.rmtree(used_place.directory / "outputs")
    used_place.cosybuild(*QUICK, "store=shared", env={"COSYBUILD_STORE": str(team)})
    assert set(actions(used_place.report()).values()) == {"hit"}
