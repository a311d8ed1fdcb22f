"""The Hydra callback that logs each run to MLflow: its configuration, its figures and its reports."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from cosybuild.lazy import require
from cosybuild.report.difference import flat
from cosybuild.report.sweep_figures import figures

_LONGEST = 500
"""The length, in characters, of the longest parameter value that every version of MLflow's stores accepts."""


class LogToMlflow(Callback):
    """Hydra callback that logs the report of each job.

    If the MLflow server cannot be reached, Hydra only prints a warning.

    Args:
        experiment: the name of the experiment to which the runs are added.
        tracking_uri: the URI of the MLflow server; None for MLflow's own setting, e.g. MLFLOW_TRACKING_URI.
    """

    def __init__(self, experiment: str, tracking_uri: str | None = None) -> None:
        self._experiment = experiment
        self._uri = tracking_uri

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Log the run; Hydra calls this after each job, in the process that ran it.

        Raises:
            MissingRequirement: MLflow is not installed.
        """
        run = Path(config.hydra.runtime.output_dir)
        path = run / "report.json"
        if config.dry_run or not path.is_file():
            return
        report = json.loads(path.read_text(encoding="utf-8"))
        mlflow = require("mlflow", "Logging to MLflow")
        client = mlflow.MlflowClient(tracking_uri=self._uri)
        experiment = client.get_experiment_by_name(self._experiment)
        identity = client.create_experiment(self._experiment) if experiment is None else experiment.experiment_id
        tags = {"cosybuild.run": run.name, "cosybuild.status": report["status"], **_sweep_tag(config)}
        logged = client.create_run(identity, run_name=run.name, tags=tags).info.run_id
        for name, value in flat("", report["config"]).items():
            client.log_param(logged, name, str(value)[:_LONGEST])
        for name, figure in figures(report).items():
            if figure is not None:
                client.log_metric(logged, name, figure)
        for artifact in ("report.json", "report.md", "report.html"):
            if (run / artifact).is_file():
                client.log_artifact(logged, str(run / artifact))
        client.set_terminated(logged, "FINISHED" if report["status"] in ("ok", "pending") else "FAILED")


def _sweep_tag(config: DictConfig) -> dict[str, str]:
    """Return the tag with the name of the sweep to which a job belongs; empty for a single run."""
    if OmegaConf.is_missing(HydraConfig.get().job, "num"):
        return {}
    return {"cosybuild.sweep": os.path.basename(config.hydra.sweep.dir)}  # noqa: PTH119  # only its name
