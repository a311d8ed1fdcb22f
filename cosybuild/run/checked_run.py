"""The reader of recorded runs for commands that print or compare the fields of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cosybuild.errors import ConfigurationError
from cosybuild.printable import one_line
from cosybuild.report.difference import difference, difference_lines
from cosybuild.report.metrics_check import MISFIT
from cosybuild.report.overview import overview
from cosybuild.run.deliver import Delivered
from cosybuild.run.lock_file import ingredients
from cosybuild.run.recorded import RecordedRun, read_run
from cosybuild.run.run_names import REPORT
from cosybuild.system.typed_json import RECORD_HINT, from_json

_NOTHING: Mapping[str, Any] = {
    "config": {},
    "model": {},
    "environment": {"versions": {}},
    "status": "",
    "verified": None,
    "steps": [],
    "artifacts": [],
}
"""A report without recorded values, so that a comparison with it visits every field of the other report."""


@dataclass(frozen=True)
class _Store:
    path: str


@dataclass(frozen=True)
class _Config:
    model: Mapping[str, Any] = field(default_factory=dict)
    store: _Store | None = None


@dataclass(frozen=True)
class _Machine:
    python: str
    system: str


@dataclass(frozen=True)
class _Environment:
    versions: Mapping[str, str]
    machine: _Machine


@dataclass(frozen=True)
class _Model:
    family: str
    hyperparameters: Mapping[str, Any]
    weights: str
    weights_digest: str | None = None
    code: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class _Report:
    """The fields of a report that commands use, with the types that they must have."""

    status: Literal["ok", "pending", "failed", "interrupted", "unfinished"]
    verified: bool | None
    overrides: tuple[str, ...]
    working_directory: str
    config: _Config
    model: _Model
    environment: _Environment
    artifacts: tuple[Delivered, ...]

    def __post_init__(self) -> None:
        names = [artifact.name for artifact in self.artifacts]
        if len(set(names)) < len(names):
            raise ValueError(f"gives two artifacts the same name: {sorted(names)}")


def read_checked_run(word: str) -> RecordedRun:
    """Return the run that `word` names, after a check of the report fields that commands print or compare.

    A report with a correct checksum can still have wrong fields, because anybody can edit it and compute the checksum
    again.

    Raises:
        ConfigurationError: see `read_run`; or a field is missing or has another type, and the message names it.
    """
    run = read_run(word)
    where = str(run.directory / REPORT)
    from_json(run.report, _Report, where)
    try:
        list(difference_lines(difference(run.report, _NOTHING)))
        list(difference_lines(overview(run.report, _NOTHING)))
        ingredients(run.report)
    except MISFIT as error:
        why = one_line(f"{type(error).__name__}: {error}")[:200]
        raise ConfigurationError(f"{where} has values that cannot be shown: {why}.", hint=RECORD_HINT) from error
    return run
