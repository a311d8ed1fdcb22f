"""The functions of the Python API: `build`, `plan` and `sweep`."""

from __future__ import annotations

import contextlib
import inspect
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cosybuild import errors
from cosybuild.api.composing import Overrides, compose_request, convert_hydra_errors, own_hydra, words_of
from cosybuild.api.results import BuildReport, PlanReport, SweepReport, build_report, plan_report, sweep_report
from cosybuild.building.events import Event
from cosybuild.building.record import Failure
from cosybuild.cli.build import run_job
from cosybuild.cli.command_line import hydra_words
from cosybuild.cli.job import Job
from cosybuild.cli.opening import Opening
from cosybuild.cli.requests import Requests
from cosybuild.config.compose import prepare
from cosybuild.errors import ConfigurationError, CosybuildError
from cosybuild.run.execute import Invocation, plan_build, run_build
from cosybuild.sweeps.callback import SweepInProgress
from cosybuild.sweeps.write import write_sweep
from cosybuild.system.files import write_text


def build(
    overrides: Overrides = (),
    *,
    check: bool = True,
    config_dirs: Sequence[Path | str] = (),
    on_event: Callable[[Event], None] | None = None,
) -> BuildReport:
    """Build one configuration in the working directory, as `python -m cosybuild` does, and print nothing.

    Args:
        overrides: the words of the command line, or typed settings.
        check: if a step fails, raise its error. If False, return the report with the failure.
        config_dirs: directories with options that are searched first, as with `--config-dir`.
        on_event: called with every event as it happens; `building.events` lists the kinds. None for no call.

    Raises:
        CosybuildError: the configuration, the model or the store cannot be used; the artifacts drift or cannot be
            deployed; or, with `check`, a step failed.
    """
    made = compose_request(overrides, config_dirs)
    if made.request.settings.dry_run:
        raise ConfigurationError(
            "dry_run=true asks for a plan, and `build` builds.", hint="Next: call cosybuild.plan, or remove dry_run."
        )
    report = run_build(made.request, Invocation(made.overrides, made.directory), on_event or _ignore)
    # Hydra writes this file for a command; report.md refers to it.
    (made.directory / ".hydra").mkdir(exist_ok=True)
    write_text(made.directory / ".hydra" / "config.yaml", made.config)
    result = build_report(report, made.directory)
    if check and result.failure is not None:
        raise error_of(result.failure)
    return result


def plan(overrides: Overrides = (), *, config_dirs: Sequence[Path | str] = ()) -> PlanReport:
    """Return which steps a build would run and why, without building or writing anything.

    Args:
        overrides: the words of the command line, or typed settings.
        config_dirs: directories with options that are searched first, as with `--config-dir`.

    Raises:
        CosybuildError: the configuration, the model or the store cannot be used.
    """
    warnings: list[str] = []
    found = plan_build(compose_request(overrides, config_dirs).request, warn=warnings.append)
    return plan_report(found, tuple(warnings))


def sweep(overrides: Sequence[str]) -> SweepReport:
    """Build each cell of a sweep, as `python -m cosybuild -m` does, and print nothing.

    A cell that fails does not end the sweep. Its report has the failure.

    Args:
        overrides: the words of the command line. Values with commas, or `sweep=NAME`, define the cells.

    Raises:
        CosybuildError: the sweep itself cannot be composed or launched.
    """
    words = ["-m", *words_of(overrides)]
    requests, progress = Requests(), SweepInProgress(begun=lambda: None)
    job = Job(words, None, Opening(), requests)
    before = sys.argv
    with own_hydra(), convert_hydra_errors(), contextlib.redirect_stdout(io.StringIO()):
        try:
            prepare(requests.settings)
            sys.argv = ["cosybuild", *hydra_words(words)]
            run_job(job, progress)
        finally:
            sys.argv = before
    if progress.directory is None or progress.dry:
        raise ConfigurationError(
            "The overrides make no sweep that is built.", hint="Next: remove dry_run; cosybuild.plan returns a plan."
        )
    return sweep_report(write_sweep(progress.directory), progress.directory)


def error_of(failure: Failure) -> CosybuildError:
    """Convert a recorded failure to an exception.

    The class of the exception is the class of errors with the same `kind`, else CosybuildError.
    """
    classes = (cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, CosybuildError))
    cls = next((cls for cls in classes if cls.kind == failure.kind), CosybuildError)
    return cls(failure.message, hint=failure.hint)


def _ignore(event: Event) -> None:
    """Drop an event; the run directory has all of them."""
