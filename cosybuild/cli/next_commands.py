"""The two commands that a first build suggests at its end."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosybuild.config.groups.deploy import Service
from cosybuild.deploy.services import ROWS
from cosybuild.run.run_names import RUNS


def next_commands(report: Mapping[str, Any], directory: Path) -> list[str]:
    """Return the lines that suggest two commands after a run that succeeded, each with its purpose.

    Args:
        report: the report of the run.
        directory: the run directory, relative to the working directory.
    """
    run = directory.name if directory.parent == RUNS else str(directory)
    told = [("print the reason for each step", ["explain", run]), _second(report, run)]
    width = max(len(purpose) for purpose, _ in told)
    lines = (f"  {purpose:<{width}}  {shlex.join(['python', '-m', 'cosybuild', *words])}" for purpose, words in told)
    return ["Next:", *lines]


def _second(report: Mapping[str, Any], run: str) -> tuple[str, list[str]]:
    words, config, model = list(report["overrides"]), report["config"], report["model"]
    if model["family"].startswith("cosyvoice"):
        if model["random_weights"]:
            return "build a trained model", [*words, "model_dir=DIR"]
        # CosyVoice's own runtime reads a graph of one sequence with full attention (deploy/services.py).
        known = any(row.service is Service.cosyvoice and row.stem == model["name"] for row in ROWS)
        fits = known and not model["streaming"] and not config["export"]["dynamic_batch"]
        if fits and report["verified"] and config["deploy"] is None and config["model_dir"]:
            return "deploy it", [*words, "deploy=cosyvoice", f"deploy.dir={config['model_dir']}"]
    return "rebuild it and compare", ["replay", run]
