"""`hydra/launcher=ray`. Hydra accepts launchers only from the namespace `hydra_plugins`, so its class is here.

Hydra imports this module in every composition, so the module imports no heavy package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class RayLauncher(Launcher):
    """Runs the cells of a sweep on a Ray cluster; its arguments are the fields of `config.launchers.RaySettings`."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the configuration; Hydra calls this once, before the jobs are known."""
        self._context, self._task, self._config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run one job for each list of overrides, and return their results in that order.

        Raises:
            CosybuildError: the cluster cannot be used, or lost a job.
        """
        from cosybuild.config.launchers import RaySettings
        from cosybuild.sweeps.ray_launcher import launch

        plain: dict[str, Any] = {
            name: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for name, v in self._settings.items()
        }
        settings = RaySettings(**plain)
        return launch(settings, self._context, self._task, self._config, job_overrides, initial_job_idx)
