"""The build command: Hydra composes the configuration, a job builds it, and the exit code gives the result."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor

import hydra

from cosybuild.cli.ci_results import CiResults
from cosybuild.cli.command_line import hydra_words
from cosybuild.cli.failure import run_guarded
from cosybuild.cli.flags import Flags, Volume, split_flags
from cosybuild.cli.job import Job
from cosybuild.cli.nothing_to_do.early_exit import Watch
from cosybuild.cli.opening import Opening
from cosybuild.cli.requests import Requests
from cosybuild.cli.single_run import run_single
from cosybuild.cli.verbs import unknown_verb
from cosybuild.config.compose import config_directory, prepare
from cosybuild.config.sweep_naming import dry_directory
from cosybuild.errors import BuildError, ConfigurationError, MissingRequirement
from cosybuild.sweeps.callback import SweepInProgress, SweepRefused, in_progress


def build_command(words: Sequence[str], opening: Opening) -> int:
    """Compose the configuration of `words`, build it or each cell of a sweep, and return the exit code.

    Args:
        words: the command line after `python -m cosybuild`.
        opening: the line that the terminal shows at the start; it is closed before anything else is printed.
    """

    def build() -> int:
        try:
            return _with_hydra(list(words), opening)
        finally:
            opening.close()

    return run_guarded(build)


def _with_hydra(given: list[str], opening: Opening) -> int:
    flags, words = split_flags(given)
    results = CiResults(flags.junit)
    try:
        code = _built(words, opening, flags, results)
    except (Exception, KeyboardInterrupt) as error:
        results.failed(error)
        results.write()
        raise
    lost = results.write()
    return code or lost


def _built(words: list[str], opening: Opening, flags: Flags, results: CiResults) -> int:
    _refuse_unknown_verb(words)
    requests = Requests()
    job = Job(words, Watch(words, config_directory()), opening, requests, flags, results)
    prepare(requests.settings)
    sys.argv = ["cosybuild", *hydra_words(words)]
    sweep = SweepInProgress(begun=opening.close)
    try:
        run_job(job, sweep)
    finally:
        code = _end_sweep(sweep, flags, results)
    if sweep.dry and job.dry_runs.cells:
        job.dry_runs.show_total()
    return max(job.codes, default=0) if code is None else code


def run_job(job: Job, sweep: SweepInProgress) -> None:
    """Let Hydra compose the configuration of `sys.argv` and run the job, once or for each cell of a sweep.

    Args:
        job: the task function that Hydra calls with each composed configuration.
        sweep: the state of the sweep, which Hydra's callback fills in.

    Raises:
        CosybuildError: the sweep cannot begin.
        BuildError: a process of the launcher died or exceeded its time limit.
        MissingRequirement: the launcher does not work on this machine.
    """
    # Without this, Hydra prints its own error and exits with 1 for every kind of error; with it, Hydra raises.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    token = in_progress.set(sweep)
    try:
        if not run_single(sys.argv[1:], job):
            hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="config")(job)()
    except SweepRefused as refused:
        raise refused.error from refused
    except _launcher_failures() as error:
        raise BuildError(
            f"A process of the launcher ended before its job did: {error}",
            hint="Next: run the same command again with fewer jobs at a time; finished steps are kept.",
        ) from error
    except multiprocessing.TimeoutError as error:
        raise BuildError(
            "A job of the launcher did not end within its time limit (hydra.launcher.timeout).",
            hint="Next: run the same command again with a larger limit; finished steps are kept.",
        ) from error
    except ValueError as error:
        if _raised_in("joblib", error):  # e.g. hydra.launcher.n_jobs=0
            raise ConfigurationError(
                f"The launcher refuses a setting: {error}.", hint="Next: correct the settings of hydra.launcher."
            ) from error
        raise
    except RuntimeError as error:
        if _raised_in("submitit", error):  # e.g. where there is no Slurm
            raise MissingRequirement(
                f"The launcher does not work on this machine: {error}",
                hint="Next: run the command on a machine that can submit jobs; hydra/launcher=submitit_local needs no "
                "cluster.",
            ) from error
        raise
    finally:
        in_progress.reset(token)
        shutil.rmtree(dry_directory(), ignore_errors=True)


def _launcher_failures() -> tuple[type[BaseException], ...]:
    """Return the exception types that launchers raise for a dead job process.

    submitit's exceptions are included only after Hydra has loaded submitit, so call this function after a failure.
    """
    if "submitit" not in sys.modules:
        return (BrokenExecutor,)
    from submitit.core.utils import FailedJobError, UncompletedJobError

    return BrokenExecutor, FailedJobError, UncompletedJobError


def _raised_in(package: str, error: BaseException) -> bool:
    """Return True if the error was raised in a module of `package`."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] == package


def _end_sweep(sweep: SweepInProgress, flags: Flags, results: CiResults) -> int | None:
    """Write and print the report of a sweep, also of one that failed, and return its exit code.

    Return None for a command without a sweep and for a dry run, which have no such report.
    """
    if sweep.directory is None or sweep.dry:
        return None
    from cosybuild.cli.sweep import finish_sweep

    return finish_sweep(sweep.directory, results, quiet=flags.volume is Volume.quiet)


def _refuse_unknown_verb(words: Sequence[str]) -> None:
    if words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        raise unknown_verb(words[0])
