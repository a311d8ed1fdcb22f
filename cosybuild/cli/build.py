"""The build command: Hydra composes, the pipeline runs, the exit code tells."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cosybuild.cli.console import console_for
from cosybuild.cli.failure import guarded
from cosybuild.config.compose import config_directory, prepare
from cosybuild.config.parse import parse
from cosybuild.run.pipeline import Invocation, run_build


def build_command(words: Sequence[str]) -> int:
    """Compose the configuration of `words` and build it; returns the exit code."""
    return guarded(lambda: _with_hydra(list(words)))


def _with_hydra(words: list[str]) -> int:
    prepare()
    codes: list[int] = []

    def job(config: DictConfig) -> float | None:
        directory = Path(HydraConfig.get().runtime.output_dir)
        invocation = Invocation(overrides=tuple(words), directory=directory, cwd=Path.cwd())
        outcome = run_build(parse(config), invocation, console_for(sys.stdout))
        codes.append(outcome.exit_code)
        return outcome.objective

    # Hydra would print its own error and exit with 1 whatever the kind; this makes it raise instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = ["cosybuild", *words]
    hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="config")(job)()
    return max(codes, default=0)
