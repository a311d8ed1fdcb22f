"""Runs of a sweep in MLflow's own store, read back through its own client."""

from __future__ import annotations

import pytest

from tests.scenarios.commands import Place
from tests.scenarios.sweeping import TINY, read_sweep

mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed here")


def test_every_cell_is_a_run_with_its_configuration_figures_and_report(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    uri = f"file://{place.directory}/mlruns"
    words = (
        "-m",
        *TINY,
        "export=opset17,opset18",
        "hydra/callbacks=mlflow",
        f"hydra.callbacks.mlflow.tracking_uri={uri}",
    )
    ran = place.cosybuild(*words)
    assert "Callback" not in ran.err
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("cosybuild")
    runs = sorted(client.search_runs([experiment.experiment_id]), key=lambda run: run.data.params["export.opset"])
    sweep = read_sweep(place)
    assert [run.data.params["export.opset"] for run in runs] == ["17", "18"]
    for run, cell in zip(runs, sweep["cells"], strict=True):
        assert run.info.status == "FINISHED"
        assert run.data.tags["cosybuild.sweep"] == sweep["name"]
        assert run.data.metrics == {name: float(v) for name, v in cell["figures"].items() if v is not None}
        assert {artifact.path for artifact in client.list_artifacts(run.info.run_id)} == {
            "report.json",
            "report.md",
            "report.html",
        }


def test_an_unreachable_tracker_does_not_fail_the_build(place: Place) -> None:
    words = (*TINY, "verify=off", "hydra/callbacks=mlflow", "hydra.callbacks.mlflow.tracking_uri=nonsense://x")
    ran = place.cosybuild(*words)
    assert "LogToMlflow.on_job_end raised" in ran.err
    assert place.report()["status"] == "ok"
