"""The reader of recorded runs: it makes a `RecordedRun` from the files in a run directory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.building.record import Outcome
from cosybuild.building.record_json import outcome_from_json
from cosybuild.config.parse import settings_from_plain
from cosybuild.config.settings import Settings
from cosybuild.run.imported_run import Origin, origin_of_run
from cosybuild.run.run_names import REPORT, RUNS, find_run
from cosybuild.system.json_records import read_record

PLAN = "plan.json"
EVENTS = "events.jsonl"
REPORT_TEXT = "report.md"
REPORT_PAGE = "report.html"


@dataclass(frozen=True)
class RecordedRun:
    """A run as its run directory records it.

    Attributes:
        directory: the run directory.
        report: the content of report.json as plain data.
        outcome: the records of its steps, checked and typed.
        origin: the origin of an imported run; None for a run that was made here.
    """

    directory: Path
    report: Mapping[str, Any]
    outcome: Outcome
    origin: Origin | None = None

    @property
    def settings(self) -> Settings:
        """The configuration of the run as typed settings.

        Raises:
            ConfigurationError: this version does not have a setting, or the setting has another type.
        """
        return settings_from_plain(self.report["config"])

    @property
    def home(self) -> Path:
        """The directory against which relative paths of the record are resolved.

        It is DIR for a run in DIR/outputs/runs, even after DIR was moved or copied. For other runs, it is the recorded
        working directory if that exists, and else the current directory. For an imported run outside of such a DIR, it
        is always the current directory.
        """
        above = self.directory.resolve().parents[: len(RUNS.parts) + 1]
        if len(above) > len(RUNS.parts) and above[0] == above[-1] / RUNS:
            return above[-1]
        if self.origin is not None:
            return Path.cwd()
        made = Path(self.report["working_directory"])
        return made if made.is_dir() else Path.cwd()


def read_run(word: str) -> RecordedRun:
    """Return the run that a word names; `find_run` lists the ways to name a run.

    Raises:
        ConfigurationError: no run or several runs match, or the record is damaged.
    """
    directory = find_run(word)
    plain = read_record(directory / REPORT, "report")
    return RecordedRun(directory, plain, outcome_from_json(plain, str(directory / REPORT)), origin_of_run(directory))


def all_runs(root: Path = RUNS) -> Iterator[RecordedRun]:
    """Yield every run under `root` that has a report, sorted by name."""
    for report in sorted(root.glob(f"*/{REPORT}")):
        yield read_run(str(report.parent))
