"""The build command: Hydra composes, the pipeline runs, the exit code tells."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cosybuild.cli.console import BuildConsole
from cosybuild.cli.failure import guarded, present
from cosybuild.cli.fast import Watch
from cosybuild.cli.verbs import VERBS
from cosybuild.config.compose import config_directory, prepare
from cosybuild.config.parse import parse
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError, Pending
from cosybuild.report.summary import one_line, summary
from cosybuild.run.pipeline import Invocation, plan_build, run_build
from cosybuild.run.prepare import request_from_settings
from cosybuild.stages.request import Request


def build_command(words: Sequence[str]) -> int:
    """Compose the configuration of `words` and build it; returns the exit code."""
    return guarded(lambda: _with_hydra(list(words)))


def _with_hydra(words: list[str]) -> int:
    _refuse_unknown_verb(words)
    watch = Watch(words, config_directory())
    prepare(validate)
    codes: list[int] = []

    def job(config: DictConfig) -> None:
        # A failure is told here and not to Hydra, which would print it again and end a sweep.
        codes.append(guarded(lambda: _run_job(config, words, watch), interruptible=False))

    # Hydra would print its own error and exit with 1 whatever the kind; this makes it raise instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = ["cosybuild", *words]
    hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="config")(job)()
    return max(codes, default=0)


def _refuse_unknown_verb(words: Sequence[str]) -> None:
    if words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        near = difflib.get_close_matches(words[0], VERBS, n=1)
        raise ConfigurationError(
            f"'{words[0]}' is neither a command nor an override (key=value)."
            f"{f' Did you mean {near[0]}?' if near else ''} Commands: {', '.join(sorted(VERBS))}.",
            hint="Next: `python -m cosybuild help` says what each does.",
        )


def _run_job(config: DictConfig, words: Sequence[str], watch: Watch) -> int:
    request = request_from_settings(parse(config))
    if request.settings.dry_run:
        return _show_plan(request)
    directory = Path(os.path.relpath(HydraConfig.get().runtime.output_dir))
    return _build(request, Invocation(tuple(words), directory), watch)


def validate(settings: Settings) -> None:
    """Find what is wrong with settings or with the model they name.

    Raises:
        CosybuildError: they cannot be built.
    """
    request_from_settings(settings)


def _build(request: Request, invocation: Invocation, watch: Watch) -> int:
    console = BuildConsole(sys.stdout)
    try:
        report = run_build(request, invocation, console)
    finally:
        console.close()
    directory = str(invocation.directory)
    message = one_line(report, directory)
    console.console.print(message if report["nothing_to_do"] else summary(report, directory))
    if report["status"] == "ok":
        watch.certify(message, request, report, invocation.directory)
    if "deployment" in report:
        from cosybuild.deploy.service import facts_text

        console.console.print(facts_text(report["deployment"]))
    return _exit_code(report)


def _exit_code(report: Mapping[str, Any]) -> int:
    failure = report["failure"]
    if failure is not None:
        present(failure["kind"], failure["message"], failure["hint"])
        return int(failure["exit_code"])
    return Pending.exit_code if report["status"] == "pending" else 0


def _show_plan(request: Request) -> int:
    from cosybuild.cli.plan_table import plan_table

    console = BuildConsole(sys.stdout)
    console.console.print(plan_table(plan_build(request, warn=lambda message: print(message, file=sys.stderr))))
    return 0
