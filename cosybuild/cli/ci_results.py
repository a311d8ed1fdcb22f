"""The results of a build for CI systems: a JUnit file (`--junit FILE`), and the summary of a job of GitHub Actions."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosybuild.building.record import Failure
from cosybuild.cli.failure import recorded_failure, run_guarded
from cosybuild.cli.printed import say
from cosybuild.errors import INTERRUPTED, StoreError
from cosybuild.system.files import convert_disk_errors, write_atomic
from cosybuild.system.typed_json import to_json

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The environment variable with the path of the file to which a step of GitHub Actions appends its Markdown summary."""

_NAME = "cosybuild"


class CiResults:
    """Collects the result of one command and writes it to a JUnit file and to GitHub's job summary.

    Each of the two is written only if it is requested: by `junit`, and by the environment variable of STEP_SUMMARY.

    Args:
        junit: the JUnit file to write; None for no file.
    """

    def __init__(self, junit: Path | None) -> None:
        self._junit = junit
        self._summary = os.environ.get(STEP_SUMMARY) or None
        self._run: tuple[Mapping[str, Any], str] | None = None
        self._sweep: Mapping[str, Any] | None = None
        self._failure: Failure | None = None

    def finished(self, report: Mapping[str, Any], directory: str) -> None:
        """Record the report of a run that ended, also of one in which a step failed.

        Args:
            report: the content of `report.json`.
            directory: the path of the run directory, which names the JUnit cases.
        """
        self._run = (report, directory)

    def swept(self, sweep: Mapping[str, Any]) -> None:
        """Record the content of `sweep.json`, the report of a whole sweep."""
        self._sweep = sweep

    def failed(self, error: BaseException) -> None:
        """Record an error that ended the command and that no report contains."""
        if isinstance(error, KeyboardInterrupt):
            hint = "Next: run the same command again; finished steps are kept."
            self._failure = Failure("", "interrupted", "The command was interrupted.", hint, INTERRUPTED)
        else:
            self._failure = recorded_failure(error)

    def write(self) -> int:
        """Write the JUnit file, and append the Markdown summary for GitHub Actions.

        Errors are printed and not raised, because they would replace an error of the command.

        Returns:
            0, or the exit code for a JUnit file that could not be written.
        """
        if self._summary is not None:
            try:
                self._append_summary(Path(self._summary))
            except StoreError as error:  # nobody asked for it on the command line, so it does not fail the build
                say(f"warning: no summary for GitHub Actions ({STEP_SUMMARY}): {error.message}", file=sys.stderr)
        return run_guarded(self._write_junit)

    def _write_junit(self) -> int:
        if self._junit is not None:
            with convert_disk_errors("write", self._junit, of_the_store=False):
                write_atomic(self._junit, self._junit_text().encode("utf-8", "backslashreplace"), durable=False)
        return 0

    def _append_summary(self, path: Path) -> None:
        if text := self._summary_text():
            data = f"{text}\n".encode("utf-8", "backslashreplace")
            with convert_disk_errors("write", path, of_the_store=False), open(path, "ab", opener=_open_at_once) as file:
                file.write(data)

    def _junit_text(self) -> str:
        from cosybuild.report.junit import junit_text
        from cosybuild.report.junit_cases import failure_case, run_cases, sweep_cases

        cases = [] if self._run is None else list(run_cases(*self._run))
        cases += [] if self._sweep is None else list(sweep_cases(self._sweep))
        if self._failure is not None:
            cases.append(failure_case(to_json(self._failure), _NAME if self._run is None else self._run[1]))
        return junit_text(_NAME, cases)

    def _summary_text(self) -> str:
        from cosybuild.report.markdown import brief, failure_text
        from cosybuild.report.sweep_markdown import sweep_markdown

        texts = [] if self._run is None else [brief(self._run[0])]
        texts += [] if self._sweep is None else [sweep_markdown(self._sweep)]
        texts += [] if self._failure is None else [failure_text(to_json(self._failure))]
        return "\n".join(texts)


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; a pipe without a reader is an error, where `open` would wait for a reader."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
