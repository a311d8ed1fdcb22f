"""The task that Hydra runs for each composed configuration: one build, alone or as a cell of a sweep."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.text import Text

from cosybuild.cli.ci_results import CiResults
from cosybuild.cli.console import BuildConsole
from cosybuild.cli.dry_run import DryRuns
from cosybuild.cli.failure import present, run_guarded
from cosybuild.cli.flags import Flags, Volume
from cosybuild.cli.next_commands import next_commands
from cosybuild.cli.nothing_to_do.early_exit import Watch
from cosybuild.cli.opening import Opening
from cosybuild.cli.printed import say
from cosybuild.cli.requests import Requests
from cosybuild.config.compose import prepare
from cosybuild.errors import ConfigurationError, Pending
from cosybuild.printable import one_line as printable_line
from cosybuild.report.summary import one_line, summary
from cosybuild.request import Request
from cosybuild.run.execute import Invocation, run_build
from cosybuild.run.lock_file import LOCK
from cosybuild.run.run_names import REPORT

_NO_FLAGS = Flags()


class Job:
    """The task function that Hydra calls; launchers pickle it into other processes.

    Attributes:
        codes: the exit codes of the builds that are not cells of a sweep. The exit code of a sweep comes from the
            records of its cells.
        dry_runs: the plans that this process has shown.
    """

    __name__ = "job"  # Hydra reads the name of a task function

    def __init__(
        self,
        words: Sequence[str],
        watch: Watch | None,
        opening: Opening,
        requests: Requests,
        flags: Flags = _NO_FLAGS,
        results: CiResults | None = None,
    ) -> None:
        self._words = tuple(words)
        self._watch = watch
        self._opening = opening
        self._requests = requests
        self._flags = flags
        self._results = results or CiResults(None)
        self.codes: list[int] = []
        self.dry_runs = DryRuns(flags.json_plan)

    def __reduce__(self) -> tuple[Any, ...]:
        # The other process unpickles this object and then composes the configuration. So unpickling must register the
        # schema and the resolvers there.
        return _job_elsewhere, (self._words, self._flags)

    def __call__(self, config: DictConfig) -> float | tuple[float, ...] | None:
        """Build one configuration; return the objective for a sweeper that searches, None for a single build.

        A failure is printed here and not raised. Hydra would print a raised error a second time, and would end a sweep.
        """
        hydra = HydraConfig.get()
        if not OmegaConf.is_missing(hydra.job, "num"):
            self._opening.close()
            if not config.dry_run:
                from cosybuild.cli.cell import run_cell

                quiet = self._flags.volume is Volume.quiet
                return run_cell(config, self._requests, live=self._watch is not None, quiet=quiet)
        self.codes.append(run_guarded(lambda: self._alone(config)))
        return None

    def _alone(self, config: DictConfig) -> int:
        self._opening.say("reading the model and planning the steps")
        try:
            return self._built_or_planned(config)
        except Exception as error:
            self._results.failed(error)
            raise
        finally:
            self._opening.close()

    def _built_or_planned(self, config: DictConfig) -> int:
        request = self._requests.of(config)
        if request.settings.dry_run:
            if self._flags.junit is not None:
                raise ConfigurationError(
                    "--junit writes the results of a build, and dry_run=true builds nothing.",
                    hint="Next: remove one of them; dry_run=json prints the plan for programs.",
                )
            hydra = HydraConfig.get()
            cell = None if OmegaConf.is_missing(hydra.job, "num") else [str(word) for word in hydra.overrides.task]
            return self.dry_runs.show(request, self._opening, cell)
        directory = Path(os.path.relpath(HydraConfig.get().runtime.output_dir))
        invocation = Invocation(self._words, directory)
        return _build(request, invocation, self._watch, self._opening, self._results, self._flags.volume)


def _job_elsewhere(words: tuple[str, ...], flags: Flags) -> Job:
    requests = Requests()
    prepare(requests.settings)
    return Job(words, None, Opening(), requests, flags)


def _build(
    request: Request,
    invocation: Invocation,
    watch: Watch | None,
    opening: Opening,
    results: CiResults,
    volume: Volume = Volume.usual,
) -> int:
    console = BuildConsole(sys.stdout, opening.close, volume)
    is_first = not any(invocation.directory.parent.glob(f"*/{REPORT}"))
    try:
        report = run_build(request, invocation, console)
    finally:
        console.close()
    directory = str(invocation.directory)
    results.finished(report, directory)
    message = one_line(report, directory)
    if volume is Volume.quiet:
        _print_artifacts(report, directory)
        return exit_code(report)
    console.console.print(message if report["nothing_to_do"] else summary(report, directory))
    if request.settings.lock and report["status"] == "ok":
        console.console.print(f"{directory}/{LOCK}")
    if report["status"] == "ok" and is_first:
        console.console.print(Text("\n".join(["", *next_commands(report, invocation.directory)])), soft_wrap=True)
    if report["status"] == "ok" and watch is not None:
        watch.certify(message, request, report, invocation.directory)
    if "deployment" in report:
        from cosybuild.deploy.deploy import facts_text

        console.console.print(facts_text(report["deployment"]))
    return exit_code(report)


def _print_artifacts(report: Mapping[str, Any], directory: str) -> None:
    """Print the path of each artifact to stdout, and each step that needs another machine to stderr."""
    for artifact in report["artifacts"]:
        say(printable_line(f"{directory}/{artifact['path']}"))
    for step in report["steps"]:
        if step["action"] == "blocked":
            say(printable_line(f"pending: {step['label']} {step['reason']}"), file=sys.stderr)


def exit_code(report: Mapping[str, Any]) -> int:
    """Return the exit code for the report of a run. If the run failed, print its failure too."""
    failure = report["failure"]
    if failure is not None:
        present(failure["kind"], failure["message"], failure["hint"])
        return int(failure["exit_code"])
    return Pending.exit_code if report["status"] == "pending" else 0
