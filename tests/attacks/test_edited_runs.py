"""Reports of finished runs that somebody edited and sealed again, and files that would let a reader wait for ever."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cosybuild.errors import ConfigurationError
from cosybuild.run.checked_run import read_checked_run
from tests.attacks.ground import Ground, with_checksum

WRONG: tuple[Any, ...] = (None, 5, "x", [], [7], {}, {"x": 7})


def ways(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value to the depth of an artifact's or a step's fields."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield (*way, name)
        if len(way) < 3:
            yield from ways(inner, (*way, name))


@pytest.fixture
def own(ground: Ground, stranger: Path) -> Path:
    """Return a finished run in the ground's directory; it is not imported."""
    shutil.copytree(stranger.parent / "outputs", ground.directory / "outputs")
    return ground.run()


@pytest.mark.attack("malformed", "each command works, or refuses the report and names the field")
def test_a_report_with_any_field_of_another_type_ends_no_command_in_an_internal_error(
    ground: Ground, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    from cosybuild.report.difference import difference, difference_lines
    from cosybuild.report.overview import overview
    from cosybuild.run.lock_file import write_lock
    from cosybuild.run.requirements import requirements_text, version_changes
    from cosybuild.system.environment import Environment

    monkeypatch.chdir(ground.directory)
    content, environment, refused = (own / "report.json").read_bytes(), Environment(), 0
    for way in ways({n: v for n, v in json.loads(content).items() if n not in ("kind", "schema", "checksum")}):
        for wrong in WRONG:

            def change(report: dict[str, Any], way: tuple[Any, ...] = way, wrong: Any = wrong) -> None:
                node: Any = report
                for step in way[:-1]:
                    node = node[step]
                node[way[-1]] = wrong

            (own / "report.json").write_bytes(with_checksum(content, change))
            try:
                run = read_checked_run(own.name)
            except ConfigurationError:
                refused += 1
                continue
            list(difference_lines(difference(run.report, run.report)))
            list(difference_lines(overview(run.report, json.loads(content))))
            list(difference_lines(difference(run.report, json.loads(content))))
            write_lock(own, run.report)
            version_changes(run.report, environment)
            try:
                requirements_text(run)
            except ConfigurationError:
                refused += 1
    assert refused > 100


@pytest.mark.attack("malformed", "the command refuses the report and names the field")
@pytest.mark.parametrize(
    "words", [("diff", "R", "R"), ("requirements", "R"), ("bundle", "R"), ("explain", "R"), ("replay", "R")]
)
def test_a_command_on_a_report_that_was_edited_and_sealed_again_names_the_field(
    ground: Ground, own: Path, words: tuple[str, ...]
) -> None:
    def change(report: dict[str, Any]) -> None:
        report["artifacts"] = 5

    (own / "report.json").write_bytes(with_checksum((own / "report.json").read_bytes(), change))
    said = ground.command(*(own.name if word == "R" else word for word in words))
    assert said.code == ConfigurationError.exit_code
    assert "report.json.artifacts should be a list and is 5" in said.text
    assert "Traceback" not in said.text


needs_fifo = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")


@needs_fifo
@pytest.mark.attack("fill or wait", "the archive is refused at once")
@pytest.mark.parametrize("source", ["fifo.tar.gz", "/dev/zero"])
def test_an_archive_that_is_no_file_is_refused(ground: Ground, source: str) -> None:
    os.mkfifo(ground.directory / "fifo.tar.gz")
    said = ground.command("import", source)
    assert said.code == ConfigurationError.exit_code
    assert f"{source} is refused: it is not a regular file" in said.text


@needs_fifo
@pytest.mark.attack("fill or wait", "the record is refused at once, and other runs are listed")
@pytest.mark.parametrize("name", ["report.json", "foreign.json"])
def test_a_record_that_is_a_fifo_is_refused(ground: Ground, own: Path, name: str) -> None:
    other = own.with_name("other")
    shutil.copytree(own, other)
    (other / name).unlink(missing_ok=True)
    os.mkfifo(other / name)
    said = ground.command("runs")
    assert said.code == 0
    assert own.name in said.text
    assert "damaged" in said.text
    said = ground.command("explain", str(other))
    assert said.code == ConfigurationError.exit_code
    assert "it is not a regular file" in said.text


@needs_fifo
@pytest.mark.attack("fill or wait", "the model directory is refused at once")
def test_a_yaml_that_is_a_fifo_is_refused(ground: Ground) -> None:
    (ground.directory / "model").mkdir()
    os.mkfifo(ground.directory / "model" / "cosyvoice2.yaml")
    said = ground.command("model_dir=model", "dry_run=true")
    assert said.code == 3
    assert "not a regular file" in said.text or "no yaml" in said.text or "cosyvoice2.yaml" in said.text
