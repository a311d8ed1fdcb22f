"""Bundles of finished runs: their content, and the files of an import."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from cosybuild.errors import ConfigurationError, StoreError
from cosybuild.run.imported_run import MARK, origin_of_run
from cosybuild.run.recorded import RecordedRun, read_run
from cosybuild.run.safe_archive import pack
from cosybuild.run.sharing.bundle import BUNDLE, write_bundle
from cosybuild.run.sharing.import_bundle import ImportedBundle, plain_facts, read_bundle
from cosybuild.store.store import Store
from tests.building.fakes import Bench
from tests.run.sharing.conftest import written

RECORD = ["run/.hydra/config.yaml", "run/plan.json", "run/report.json"]


@pytest.fixture
def archive(bench: Bench, finished: RecordedRun, tmp_path: Path) -> Path:
    write_bundle(finished, bench.store, tmp_path / "run.tar.gz", artifacts=True)
    return tmp_path / "run.tar.gz"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "received" / "runs"


def members(archive: Path) -> list[str]:
    with tarfile.open(archive) as opened:
        return opened.getnames()


def index_of(archive: Path) -> dict[str, Any]:
    with tarfile.open(archive) as opened:
        file = opened.extractfile(BUNDLE.index)
        assert file is not None
        content: dict[str, Any] = json.loads(file.read())
    return content


def tree(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_bundle_contains_records_data_and_results_and_no_code(
    bench: Bench, finished: RecordedRun, archive: Path
) -> None:
    first, *others = members(archive)
    assert first == BUNDLE.index
    assert [name for name in others if name.startswith("run/")] == sorted([*RECORD, "run/artifacts/graph.onnx"])
    keys = [record.key for record in finished.outcome.records if record.key is not None]
    digests = {file.digest for record in finished.outcome.records for a in record.outputs.values() for file in a.files}
    assert {name for name in others if name.startswith("store/")} == {
        *(f"store/entries/{key.stage}/{key.digest}.json" for key in keys),
        *(f"store/objects/{digest[:2]}/{digest}" for digest in digests),
    }
    index = index_of(archive)
    assert index["name"] == "finished"
    assert index["artifacts"] is True
    assert index["keys"] == [[key.stage, dict(key.parts)] for key in keys]


def test_a_bundle_without_artifacts_contains_the_record_alone(
    bench: Bench, finished: RecordedRun, tmp_path: Path
) -> None:
    target = tmp_path / "record.tar.gz"
    write_bundle(finished, bench.store, target, artifacts=False)
    assert members(target) == [BUNDLE.index, *RECORD]
    index = index_of(target)
    assert (index["keys"], index["artifacts"]) == ([], False)


def test_two_bundles_of_a_run_have_the_same_bytes(
    bench: Bench, finished: RecordedRun, archive: Path, tmp_path: Path
) -> None:
    write_bundle(finished, bench.store, tmp_path / "again.tar.gz", artifacts=True)
    assert (tmp_path / "again.tar.gz").read_bytes() == archive.read_bytes()


def test_a_run_whose_result_left_the_store_is_not_bundled(bench: Bench, finished: RecordedRun, tmp_path: Path) -> None:
    key = finished.outcome.record("simplify").key
    assert key is not None
    bench.store.entry_path(key.stage, key.digest).unlink()
    with pytest.raises(StoreError, match="The result of 'simplify' is no longer in"):
        write_bundle(finished, bench.store, tmp_path / "run.tar.gz", artifacts=True)
    assert not (tmp_path / "run.tar.gz").exists()


def test_an_import_marks_the_run_and_keeps_its_results_out_of_the_store(
    finished: RecordedRun, archive: Path, store: Store, runs: Path
) -> None:
    arrival = read_bundle(archive, store, runs)
    assert arrival == ImportedBundle(runs / "finished.imported", carried=2, results=0, was_there=False)
    run = read_run(str(arrival.run))
    assert run.outcome == finished.outcome
    assert run.origin is not None
    assert (run.origin.archive, run.origin.results, run.origin.signer) == ("run.tar.gz", False, None)
    assert (arrival.run / "artifacts" / "graph.onnx").read_text() == "the content of artifacts/graph.onnx"
    assert (arrival.run / "report.md").read_text().startswith("# cosyvoice2: ok"), "made here from the record"
    assert [path.name for path in runs.iterdir()] == ["finished.imported"], "no temporary directory is left"
    assert list(store.entries()) == []


def test_trusted_results_are_found_in_the_store(finished: RecordedRun, archive: Path, store: Store, runs: Path) -> None:
    arrival = read_bundle(archive, store, runs, trust_results=True)
    assert (arrival.carried, arrival.results) == (2, 2)
    origin = origin_of_run(arrival.run)
    assert origin is not None
    assert origin.results is True
    for record in finished.outcome.records:
        assert record.key is not None
        entry = store.find(record.key)
        assert entry is not None
        assert {slot: a.digest for slot, a in entry.outputs.items()} == {s: a.digest for s, a in record.outputs.items()}
        assert all(file.path.is_relative_to(store.path) for file in entry.files)


def test_a_second_import_changes_no_file(archive: Path, store: Store, runs: Path) -> None:
    run = read_bundle(archive, store, runs).run
    (run / "artifacts" / "graph.onnx").write_text("changed by the receiver")
    before = tree(runs)
    assert read_bundle(archive, store, runs).was_there is True
    assert tree(runs) == before


def test_a_second_import_may_add_the_results_and_takes_nothing_back(archive: Path, store: Store, runs: Path) -> None:
    run = read_bundle(archive, store, runs).run
    for trusted in (True, False):
        read_bundle(archive, store, runs, trust_results=trusted)
        origin = origin_of_run(run)
        assert origin is not None
        assert origin.results is True, "the results stay in the store, and the mark says so"
    assert len(list(store.entries())) == 2


@pytest.mark.parametrize("there", ["a directory", "another bundle", "a link"])
def test_an_existing_directory_from_another_source_is_kept(
    there: str, bench: Bench, archive: Path, store: Store, runs: Path, tmp_path: Path
) -> None:
    runs.mkdir(parents=True)
    if there == "a directory":
        (runs / "finished.imported").mkdir()
    elif there == "a link":
        (runs / "finished.imported").symlink_to(tmp_path / "nowhere")
    else:
        other = written(bench, tmp_path / "other" / "finished", seconds=2.0)
        write_bundle(other, bench.store, tmp_path / "other.tar.gz", artifacts=False)
        read_bundle(tmp_path / "other.tar.gz", store, runs)
    before = tree(runs)
    with pytest.raises(ConfigurationError, match="already exists, and is not from this archive"):
        read_bundle(archive, store, runs)
    assert tree(runs) == before
    assert not (tmp_path / "nowhere").exists()


def test_an_imported_run_keeps_its_name_when_it_is_sent_on(
    archive: Path, store: Store, runs: Path, tmp_path: Path
) -> None:
    run = read_run(str(read_bundle(archive, store, runs).run))
    write_bundle(run, store, tmp_path / "on.tar.gz", artifacts=False)
    assert f"run/{MARK}" not in members(tmp_path / "on.tar.gz"), "the mark is the receiver's own"
    assert read_bundle(tmp_path / "on.tar.gz", store, tmp_path / "third").run.name == "finished.imported"


def test_a_record_that_no_command_could_read_is_refused(bench: Bench, store: Store, runs: Path, tmp_path: Path) -> None:
    run = written(bench, tmp_path / "sent" / "odd", config={"export": {}})
    write_bundle(run, bench.store, tmp_path / "odd.tar.gz", artifacts=False)
    with pytest.raises(ConfigurationError, match=r"odd\.tar\.gz is refused: .*model"):
        read_bundle(tmp_path / "odd.tar.gz", store, runs)
    assert not runs.exists()


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ({"name": "x", "keys": [["../entries", {}]]}, "names the stage '../entries' in keys"),
        ({"name": "x", "keys": [["export", {"a": 1}]]}, "keys"),
        ({"keys": []}, "name"),
        ({"name": "..", "keys": []}, "it names its run '..', and that name"),
    ],
)
def test_an_index_of_another_form_is_refused(
    index: dict[str, Any], words: str, store: Store, runs: Path, tmp_path: Path
) -> None:
    pack(BUNDLE, tmp_path / "forged.tar.gz", index, {})
    with pytest.raises(ConfigurationError, match=words):
        read_bundle(tmp_path / "forged.tar.gz", store, runs)
    assert not runs.exists()


def test_a_failed_import_keeps_the_temporary_directory_of_another_one(store: Store, runs: Path, tmp_path: Path) -> None:
    other = runs / ".arriving" / "other"
    other.mkdir(parents=True)
    (tmp_path / "no.tar.gz").write_text("no archive")
    pack(BUNDLE, tmp_path / "empty.tar.gz", {"name": "empty", "keys": []}, {})
    for name in ("no", "empty"):
        with pytest.raises(ConfigurationError):
            read_bundle(tmp_path / f"{name}.tar.gz", store, runs)
    assert other.is_dir()


def test_the_facts_for_json_are_plain(archive: Path, store: Store, runs: Path) -> None:
    facts = plain_facts(read_bundle(archive, store, runs))
    assert json.loads(json.dumps(facts)) == {
        "run": str(runs / "finished.imported"),
        "carried": 2,
        "results": 0,
        "was_there": False,
        "signer": None,
    }
