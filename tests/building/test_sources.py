"""Sources that change between the plan and the end of the step that reads them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cosybuild.building import sources as module
from cosybuild.building.record import Outcome
from cosybuild.building.stage import RunContext
from cosybuild.errors import CheckpointError
from cosybuild.store.artifact import Artifact
from cosybuild.store.result import StageResult
from tests.building.fakes import Bench, FakeStage, actions, complete, pipeline

OLD, NEW = "old weights", "new weights"


class Meddler:
    """A pipeline whose export reads `models/m/flow.pt`, and a change of that file during the build."""

    def __init__(self, bench: Bench, directory: Path) -> None:
        self.bench = bench
        self.path = directory / "models" / "m" / "flow.pt"
        self.path.parent.mkdir(parents=True)
        self.path.write_text(OLD)
        self.stages = pipeline()
        bench.sources = {"weights": bench.store.source("weights", self.path)}

    def build(
        self, before: Callable[[Path], None] = lambda path: None, after: Callable[[Path], None] = lambda path: None
    ) -> Outcome:
        """Build, with changes before and after the step reads the file."""

        def work(context: RunContext) -> StageResult:
            before(self.path)
            result = self.stages[0].join(context)
            after(self.path)
            return result

        self.stages[0].work = work
        return self.bench.build(self.stages)

    def graph(self) -> str:
        """Return the artifact that the export read, from the store."""
        (graph,) = (entry.outputs["graph"] for entry in self.bench.store.entries() if entry.key.stage == "export")
        return graph.path.read_text()


@pytest.fixture
def meddler(bench: Bench, tmp_path: Path) -> Meddler:
    return Meddler(bench, tmp_path)


def refused(meddler: Meddler, outcome: Outcome, what: str) -> None:
    """Check that the build ended with an error about the file, and that the store has no result of the step."""
    assert outcome.failure is not None
    assert (outcome.failure.kind, outcome.failure.exit_code) == ("changed source", 4)
    assert outcome.failure.message.startswith(f"The file {meddler.path} changed while the build used it: {what}.")
    assert "the result of this step was not kept" in outcome.failure.message
    assert actions(outcome)["export"] == "failed"
    assert list(meddler.bench.store.entries()) == []
    assert list(meddler.bench.store.objects) == []


def in_place(path: Path) -> None:
    """Write another content of the same size and restore the time."""
    stat = path.stat()
    path.write_text(NEW)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def put_back(path: Path) -> None:
    """Write the first content again and restore the first time."""
    stat = path.stat()
    path.write_text(OLD)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replace(path: Path) -> None:
    """Replace the file by another of the same size and time."""
    stat = path.stat()
    other = path.with_name("download.part")
    other.write_text(NEW)
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    path.rename(path.with_name("old.pt"))
    other.replace(path)


def replace_back(path: Path) -> None:
    path.with_name("old.pt").replace(path)


def move_parent(path: Path) -> None:
    """Replace the directory above the model's by another tree."""
    models = path.parents[1]
    models.rename(models.with_name("away"))
    path.parent.mkdir(parents=True)
    path.write_text(NEW)


def move_parent_back(path: Path) -> None:
    models = path.parents[1]
    shutil.rmtree(models)
    models.with_name("away").rename(models)


CHANGES = {"in place": in_place, "replaced": replace, "its parent moved": move_parent}


@pytest.mark.attack("stale", "the error SourceChanged, nothing is published")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("moment", ["planned", "before", "after"])
def test_a_change_at_any_moment_is_an_error_and_publishes_nothing(meddler: Meddler, change: str, moment: str) -> None:
    meddle = CHANGES[change]
    if moment == "planned":
        meddle(meddler.path)
        outcome = meddler.build()
    else:
        outcome = meddler.build(**{moment: meddle})
    refused(meddler, outcome, "it was replaced or written to")


@pytest.mark.attack("stale", "the error SourceChanged, nothing is published")
@pytest.mark.parametrize(("change", "back"), [(in_place, put_back), (replace, replace_back)])
def test_a_change_that_is_undone_before_the_step_ends_is_an_error(
    meddler: Meddler, change: Callable[[Path], None], back: Callable[[Path], None]
) -> None:
    refused(meddler, meddler.build(change, back), "it was replaced or written to")


@pytest.mark.attack("stale", "the planned content is read")
def test_a_path_that_led_to_another_file_for_a_while_has_no_effect(meddler: Meddler) -> None:
    """The step reads the opened file even if its path leads to another file."""
    assert complete(meddler.build(move_parent, move_parent_back))
    assert OLD in meddler.graph()


@pytest.mark.attack("stale", "the planned content is read")
def test_a_link_that_led_to_another_file_for_a_while_has_no_effect(bench: Bench, tmp_path: Path) -> None:
    for name, content in (("one", OLD), ("two", NEW)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "flow.pt").write_text(content)
    link = tmp_path / "current"
    link.symlink_to("one")
    bench.sources = {"weights": bench.store.source("weights", link / "flow.pt")}
    stages = pipeline()

    def work(context: RunContext) -> StageResult:
        link.unlink()
        link.symlink_to("two")
        result = stages[0].join(context)
        link.unlink()
        link.symlink_to("one")
        return result

    stages[0].work = work
    outcome = bench.build(stages)
    assert complete(outcome)
    assert OLD in outcome.record("export").outputs["graph"].path.read_text()


def test_a_removed_file_is_an_error(meddler: Meddler) -> None:
    meddler.path.unlink()
    refused(meddler, meddler.build(), "it was removed")


@pytest.mark.attack("fill or wait", "an error, at once")
def test_a_fifo_in_place_of_the_file_does_not_hang_the_build(meddler: Meddler) -> None:
    meddler.path.unlink()
    os.mkfifo(meddler.path)
    refused(meddler, meddler.build(), "it was replaced or written to")


def test_a_step_that_fails_because_of_the_change_reports_the_change(meddler: Meddler) -> None:
    def cut_off(path: Path) -> None:
        path.write_text("")
        raise CheckpointError(f"{path} is empty.")

    refused(meddler, meddler.build(cut_off), "it was replaced or written to")


@pytest.mark.attack("stale", "the error SourceChanged, nothing is published")
def test_a_change_that_no_stamp_shows_is_an_error_and_the_digest_is_forgotten(
    meddler: Meddler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system without a ctime, the content is hashed again."""
    monkeypatch.setattr(module, "identity_of", lambda stat: meddler.bench.sources["weights"].files[0].identity)
    refused(meddler, meddler.build(in_place), "its content is not the planned content")
    monkeypatch.undo()
    assert meddler.bench.store.source("weights", meddler.path).digest != meddler.bench.sources["weights"].digest


def test_the_next_build_uses_the_new_content(meddler: Meddler) -> None:
    meddler.build(in_place)
    meddler.bench.sources = {"weights": meddler.bench.store.source("weights", meddler.path)}
    assert complete(meddler.build())
    assert NEW in meddler.graph()


def test_an_error_of_the_step_names_the_file_of_the_user(meddler: Meddler) -> None:
    def fail(context: RunContext) -> StageResult:
        private = context.inputs["weights"].path
        assert private != meddler.path
        assert private.name == meddler.path.name
        raise CheckpointError(f"{private} is no checkpoint.", hint=f"Next: fetch {private} again.")

    meddler.stages[0].work = fail
    failure = meddler.bench.build(meddler.stages).failure
    assert failure is not None
    assert failure.message == f"{meddler.path} is no checkpoint."
    assert failure.hint == f"Next: fetch {meddler.path} again."


@pytest.mark.parametrize("names", [("a.npz",), ("a.npz", "b.npz")])
def test_without_links_to_descriptors_a_step_reads_a_copy(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    monkeypatch.setattr(module, "_linked", lambda private, handle: False)
    for name in names:
        (tmp_path / name).write_text(OLD)
    given = bench.store.source("calibration", *(tmp_path / name for name in names))
    bench.sources = {"calibration": given}

    def work(context: RunContext) -> StageResult:
        artifact: Artifact = context.inputs["calibration"]
        assert not any(file.path.is_symlink() for file in artifact.files)
        assert [file.path.read_text() for file in artifact.files] == [OLD] * len(names)
        return stage.write(context, "done")

    stage = FakeStage("precision", needs=("calibration",), makes=("lowered",), work=work)
    assert complete(bench.build([stage]))


def test_a_change_of_a_source_does_not_affect_a_step_that_does_not_read_it(meddler: Meddler) -> None:
    assert complete(meddler.build())
    in_place(meddler.path)
    outcome = meddler.bench.build(meddler.stages, {"rounds": 2})
    assert actions(outcome) == {"export": "hit", "simplify": "built", "verify": "built", "engine": "built"}


def test_every_step_receives_the_digests_of_all_sources(meddler: Meddler) -> None:
    told = []

    def work(context: RunContext) -> StageResult:
        told.append(context.sources)
        return meddler.stages[3].join(context)

    meddler.stages[3].work = work
    meddler.build()
    assert told == [{"weights": meddler.bench.sources["weights"].digest}]
