"""Optuna's sweeper receives the objective and the failures, and the report lists its trials."""

from __future__ import annotations

import pytest
import yaml

from tests.scenarios.commands import Place
from tests.scenarios.sweeping import TINY, column, read_sweep, sweep_directory

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="the extra for optuna is not installed here")

SEARCH = (
    "-m",
    "hydra/sweeper=optuna",
    "hydra.sweeper.n_trials=4",
    "hydra.sweeper.n_jobs=1",
    "hydra.sweeper.sampler.seed=1",
)


def test_the_best_trial_has_the_smallest_objective(place: Place) -> None:
    place.cosybuild(*SEARCH, *TINY, "verify=off", "objective=[size]", "export=choice(opset17,opset18)")
    sweep = read_sweep(place)
    assert sweep["sweeper"] == "optuna"
    assert set(column(sweep, "status")) == {"ok"}
    best = yaml.safe_load((sweep_directory(place) / "optimization_results.yaml").read_text())
    assert best["best_value"] == min(cell["figures"]["size"] for cell in sweep["cells"])


def test_a_trial_that_fails_is_a_failed_trial(place: Place) -> None:
    words = (*TINY, "verify=off", "simplify=none", "objective=[size]", "hydra.sweeper.max_failure_rate=1.0")
    place.cosybuild(
        *SEARCH, *words, "export=choice(opset17,opset18)", "export.exporter=choice(dynamo,torchscript)", code=None
    )
    sweep = read_sweep(place)
    for cell in sweep["cells"]:
        refused = (cell["overrides"].count("export=opset17"), cell["overrides"].count("export.exporter=dynamo")) == (
            1,
            1,
        )
        assert cell["status"] == ("failed" if refused else "ok")
